"""What ranks say to each other, and which users are whose. One process alone is a group too, in which nothing is said."""

from collections.abc import Sequence
from typing import Any, Protocol

import numba as nb
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marm.errors import MarmError
from marm.mix import mix
from marm.types import I64, U64

Columns = list[NDArray[Any]]


class RankError(MarmError):
    """Another rank has stopped, or cannot be reached; the run is whole up to its last cut."""


class Group(Protocol):
    """Ranks 0 to ``size`` - 1. All call the same methods in the same order. Errors: ``RankError`` where one is gone."""

    rank: int
    size: int

    def exchange(self, columns: Sequence[NDArray[Any]], counts: I64, come: I64 | None = None) -> tuple[Columns, I64]:
        """Rows of columns to their ranks: the first ``counts[0]`` to rank 0, and so on; what came, in order of ranks.

        ``come`` (size,): rows that will come from each, where that is known. Returns the columns and these counts.
        """
        ...

    def gather(self, columns: Sequence[NDArray[Any]]) -> Columns:
        """All ranks' rows on rank 0, in order of ranks; none elsewhere. Sent in pieces."""
        ...

    def add_up(self, values: Tensor) -> None:
        """Replace values by their sums over all ranks, the same bits on each."""
        ...

    def total(self, *numbers: int) -> list[int]:
        """Sums of whole numbers over all ranks."""
        ...

    def agree(self, number: int) -> int:
        """Rank 0's number."""
        ...

    def any(self, here: bool) -> bool:
        """Whether it is so on any rank."""
        ...

    def wait(self) -> None:
        """Until all have come here, however long one of them works."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class Alone:
    """A group of one."""

    rank, size = 0, 1

    def exchange(self, columns: Sequence[NDArray[Any]], counts: I64, come: I64 | None = None) -> tuple[Columns, I64]:
        """The same rows."""
        return list(columns), counts

    def gather(self, columns: Sequence[NDArray[Any]]) -> Columns:
        """The same rows."""
        return list(columns)

    def add_up(self, values: Tensor) -> None:
        """As they are."""

    def total(self, *numbers: int) -> list[int]:
        """As they are."""
        return list(numbers)

    def agree(self, number: int) -> int:
        """The same."""
        return number

    def any(self, here: bool) -> bool:
        """The same."""
        return here

    def wait(self) -> None:
        """At once."""

    def close(self) -> None:
        """Nothing to leave."""


ALONE = Alone()


@nb.njit(cache=True, nogil=True)
def owners(users: U64, size: int) -> I64:
    """The rank of each user (B,): a function of its hash and of the number of ranks."""
    out = np.empty(len(users), np.int64)
    for i in range(len(users)):
        out[i] = np.int64(mix(users[i]) % np.uint64(size))
    return out


def own(group: Group, users: U64) -> I64:
    """Places of those users that are this rank's."""
    if group.size == 1:
        return np.arange(len(users))
    return np.flatnonzero(owners(users, group.size) == group.rank)


def on_all(group: Group, columns: Sequence[NDArray[Any]]) -> Columns:
    """All ranks' rows on every rank, in order of ranks."""
    if group.size == 1:
        return list(columns)
    to_each = [np.concatenate([column] * group.size) for column in columns]
    return group.exchange(to_each, np.full(group.size, len(columns[0])))[0]
