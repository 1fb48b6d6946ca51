"""A spool's records in parts that fit in memory, by user or by score; long ranges go through files beside the spool."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from marm.errors import DiskError
from marm.metrics.runs import Runs, labelled, merge, runs_of, score_codes, sorted_keys
from marm.metrics.spool import Records, Spool
from marm.types import I64, U64

CELL = np.uint32(12)
"""Bits of a score's code that a histogram cell leaves open: a cell has at most 4,096 distinct scores."""

CELLS = 1 << (32 - int(CELL))

Row = TypeVar("Row", bound=np.generic)

GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)


def chunks(spool: Spool, lo: int, hi: int, rows: int) -> Iterator[Records]:
    """Consecutive pieces of at most ``rows`` records."""
    for at in range(lo, hi, rows):
        yield spool.read(at, min(at + rows, hi))


def by_user(spool: Spool, lo: int, hi: int, rows: int) -> Iterator[Records]:
    """Parts of about ``rows`` records, each user's all in one; one user's records are the least a part can hold."""
    if hi - lo <= rows:
        yield spool.read(lo, hi)
        return
    parts = -(-(hi - lo) * 5 // (rows * 4))  # a quarter more than needed: hashed parts are not equal
    with _folder(spool.path) as folder:
        for records in chunks(spool, lo, hi, rows):
            mixed = records["user"] * GOLDEN
            _deal(folder, records, ((mixed >> np.uint64(32)) % np.uint64(parts)).astype(np.int64))
        for part in range(parts):
            yield _take(folder, part, spool.type)


def by_score(spool: Spool, task: int, lo: int, hi: int, rows: int) -> Iterator[Runs]:
    """Runs of a task's labelled records, part after part in rising score; about ``rows`` distinct scores in each."""
    if hi - lo <= rows:
        yield runs_of(_keys(spool.read(lo, hi), task))
        return
    part_of = _score_parts(spool, task, lo, hi, rows)
    with _folder(spool.path) as folder:
        for records in chunks(spool, lo, hi, rows):
            keys = _keys(records, task)
            _deal(folder, keys, part_of[_cells(keys)])
        for part in range(int(part_of[-1]) + 1):
            yield _merged(_take(folder, part, np.dtype(np.uint64)), rows)


def _keys(records: Records, task: int) -> U64:
    labels = records["labels"][:, task]
    here = labelled(labels)
    return sorted_keys(score_codes(records["scores"][here, task]), labels[here] > 0.5)


def _cells(keys: U64) -> I64:
    return (keys >> np.uint64(CELL + 1)).astype(np.int64)


def _score_parts(spool: Spool, task: int, lo: int, hi: int, rows: int) -> I64:
    """Part of each cell, rising, so that a part has at most ``rows`` records or is one cell."""
    counts = np.zeros(CELLS, np.int64)
    for records in chunks(spool, lo, hi, rows):
        counts += np.bincount(_cells(_keys(records, task)), minlength=CELLS)
    full = np.flatnonzero(counts)
    part = np.zeros(CELLS, np.int64)
    held, now = 0, 0
    for cell in full.tolist():
        if held and held + counts[cell] > rows:
            held, now = 0, now + 1
        held += int(counts[cell])
        part[cell] = now
    return np.maximum.accumulate(part)


def _merged(keys: U64, rows: int) -> Runs:
    """Runs of keys in any order; a part that is one crowded cell is read piece by piece."""
    pieces = [runs_of(np.sort(keys[at : at + rows])) for at in range(0, max(len(keys), 1), rows)]
    return merge(pieces)


@contextmanager
def _folder(spool: Path) -> Iterator[Path]:
    """An empty folder beside the spool, where there is room; one left by a process that died is cleared."""
    folder = spool.with_name(spool.name + ".parts")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
    except OSError as error:
        raise DiskError(folder, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _deal(folder: Path, rows: Records | U64, part: I64) -> None:
    """Append each row to the file of its part, in order."""
    order = np.argsort(part, kind="stable")
    names, begin = np.unique(part[order], return_index=True)
    for name, at in zip(names.tolist(), np.split(order, begin[1:]), strict=True):
        with (folder / f"{name}").open("ab") as file:
            file.write(rows[at].tobytes())


def _take(folder: Path, part: int, kind: np.dtype[Row]) -> NDArray[Row]:
    """The rows of a part, mapped; none where nothing was dealt to it."""
    path = folder / f"{part}"
    return np.memmap(path, kind, "r") if path.exists() else np.zeros(0, kind)
