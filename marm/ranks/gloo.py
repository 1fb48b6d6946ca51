"""A group over torch.distributed's gloo, joined as torchrun says in the environment."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from marm.ranks.group import ALONE, Columns, Group, RankError
from marm.types import I64, U8

PATIENCE = timedelta(minutes=30)
"""For an answer of a rank that still has its connections; one whose process has ended is missed at once."""

WORK = timedelta(days=1)
"""For rank 0 to prepare a log, and for a rank to come here."""

_PIECE = 1 << 26
"""Bytes that a rank sends at a time when all is gathered."""


def asked_for() -> int:
    """Ranks of the group that the environment tells of; 1 where it tells of none."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else 1


@contextmanager
def joined() -> Iterator[Group]:
    """The group that torchrun or ``--ranks`` started this process in; alone where nobody did."""
    if asked_for() == 1:
        yield ALONE
        return
    group = Gloo()
    yield group
    # Not where an error ends this rank: the others are not waited for.
    group.close()


class Gloo:
    """Ranks on one machine or several, over TCP."""

    def __init__(self) -> None:
        """Join. Errors: ``RankError`` where the others cannot be reached."""
        _or_lost(partial(dist.init_process_group, "gloo", timeout=PATIENCE))
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._slow: Any = dist.new_group(timeout=WORK)

    def exchange(self, columns: Sequence[NDArray[Any]], counts: I64, come: I64 | None = None) -> tuple[Columns, I64]:
        """Rows of columns to their ranks: the first ``counts[0]`` to rank 0, and so on; what came, in order of ranks."""
        if come is None:
            come = np.empty_like(counts)
            self._all_to_all(come, counts)
        width = sum(_row_bytes(column) for column in columns)
        out = np.empty((int(come.sum()), width), np.uint8)
        if width:
            self._all_to_all(out.reshape(-1), _packed(columns, width).reshape(-1), come * width, counts * width)
        return _unpacked(out, columns), come

    def gather(self, columns: Sequence[NDArray[Any]]) -> Columns:
        """All ranks' rows on rank 0, in order of ranks; none elsewhere. Sent in pieces."""
        rows, width = len(columns[0]), max(sum(_row_bytes(column) for column in columns), 1)
        step = max(_PIECE // width, 1)
        came: list[list[Columns]] = [[] for _ in range(self.size)]
        for at in range(0, self._most(rows), step):
            piece = [column[at : at + step] for column in columns]
            counts = np.zeros(self.size, np.int64)
            counts[0] = len(piece[0])
            got, come = self.exchange(piece, counts)
            ends = np.cumsum(come)
            for rank, (lo, hi) in enumerate(zip(ends - come, ends, strict=True)):
                came[rank].append([column[lo:hi] for column in got])
        none = [column[:0] for column in columns]
        in_order = [none, *(piece for pieces in came for piece in pieces)]
        return [np.concatenate(pieces) for pieces in zip(*in_order, strict=True)]

    def add_up(self, values: Tensor) -> None:
        """Replace values by their sums over all ranks, the same bits on each."""
        _or_lost(partial(dist.all_reduce, values))

    def total(self, *numbers: int) -> list[int]:
        """Sums of whole numbers over all ranks."""
        summed = torch.tensor(numbers)
        self.add_up(summed)
        return [int(number) for number in summed]

    def agree(self, number: int) -> int:
        """Rank 0's number."""
        return self.total(0 if self.rank else number)[0]

    def any(self, here: bool) -> bool:
        """Whether it is so on any rank."""
        return self._most(int(here)) > 0

    def wait(self) -> None:
        """Until all have come here, however long one of them works."""
        _or_lost(partial(dist.all_reduce, torch.zeros(1), group=self._slow))

    def close(self) -> None:
        """Leave the group, once all have come to this."""
        self.wait()
        dist.destroy_process_group()

    def _most(self, number: int) -> int:
        most = torch.tensor([number])
        _or_lost(partial(dist.all_reduce, most, dist.ReduceOp.MAX))
        return int(most)

    def _all_to_all(
        self, out: NDArray[Any], given: NDArray[Any], come: I64 | None = None, go: I64 | None = None
    ) -> None:
        splits = (None if come is None else come.tolist(), None if go is None else go.tolist())
        tensors = (torch.from_numpy(out), torch.from_numpy(given))
        _or_lost(partial(dist.all_to_all_single, *tensors, *splits))


def _or_lost(speak: Callable[[], Any]) -> None:
    """Errors: ``RankError`` where the network or another rank fails."""
    try:
        speak()
    except (RuntimeError, dist.DistError) as error:
        where = f"rank {os.environ.get('RANK')}"
        # Gloo says where in its own code, then what, then advice.
        reason = re.sub(r"^\[[^]]*\] ", "", str(error)).partition("\n")[0].partition(". ")[0]
        raise RankError(
            f"{where}: lost the others ({reason}): stopped; `marm resume` goes on from the last cut"
        ) from None


def _row_bytes(column: NDArray[Any]) -> int:
    return int(column.dtype.itemsize * np.prod(column.shape[1:], dtype=np.int64))


def _packed(columns: Sequence[NDArray[Any]], width: int) -> U8:
    """Rows of several columns side by side as bytes: (R, width)."""
    out, at = np.empty((len(columns[0]), width), np.uint8), 0
    for column in columns:
        size = _row_bytes(column)
        if size and len(out):
            out[:, at : at + size] = np.ascontiguousarray(column).view(np.uint8).reshape(len(out), size)
        at += size
    return out


def _unpacked(rows: U8, like: Sequence[NDArray[Any]]) -> Columns:
    out, at = list[NDArray[Any]](), 0
    for column in like:
        size = _row_bytes(column)
        here = np.empty((len(rows), *column.shape[1:]), column.dtype)
        if size and len(rows):
            here.view(np.uint8).reshape(len(rows), size)[:] = rows[:, at : at + size]
        out.append(here)
        at += size
    return out
