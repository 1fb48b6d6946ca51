"""What retrieval has to beat: what is popular of late, and what was received beside the user's newest items."""

import numba as nb
import numpy as np
from torch import Tensor

from marm.nn.saving import part, signed
from marm.stages.room import room
from marm.types import F32, F64, I32, I64

_LEAST = 0.1
"""Events more that each item counts for: one that was not received of late is not out of the question."""
_EVENTS = 2.0**38
"""More than a stream has: an event's number over it is a part of one count."""


class Popularity:
    """Counts items among the newest positive events."""

    def __init__(self, window: int) -> None:
        self._ring: I64 = np.full(window, -1)
        self._next = self._items = 0
        self._counts: I64 = np.zeros(0, np.int64)

    @property
    def counts(self) -> I64:
        """Events of each item (N,)."""
        return self._counts[: self._items]

    def grow(self, items: int) -> None:
        """Make room for so many items."""
        self._counts, self._items = room(self._counts, items), items

    def add(self, at: I64) -> None:
        """Items of positive events, by place; the oldest leave."""
        for low in range(0, len(at), len(self._ring)):
            new = at[low : low + len(self._ring)]
            where = (self._next + np.arange(len(new))) % len(self._ring)
            old = self._ring[where]
            np.subtract.at(self._counts, old[old >= 0], 1)
            np.add.at(self._counts, new, 1)
            self._ring[where] = new
            self._next += len(new)

    def scores(self, event: I64) -> F64:
        """Between 0 and 1 (N,): by count, and of equal counts what was seen last (``event``: its newest) first."""
        score: F64 = (self.counts + event / _EVENTS) / (len(self._ring) + 1)
        return score

    def log_share(self, at: I64, event: I64, newest: int) -> F32:
        """Log of the share of what is counted that items ``at`` (n,) have, in the order of ``scores``.

        Of items with equal counts, what was seen later has up to one event more. ``event`` (n,): the newest of each;
        ``newest``: of all.
        """
        counts = self._counts[at] + event / (newest + 1) + _LEAST
        held = min(self._next, len(self._ring)) + (0.5 + _LEAST) * self._items
        out: F32 = np.log(counts / held).astype(np.float32)
        return out

    def state(self) -> dict[str, Tensor]:
        """For the cut."""
        return {"ring": signed(self._ring), "next": signed(np.array(self._next))}

    def load(self, state: dict[str, Tensor], items: int) -> None:
        """Take up where ``state`` was taken."""
        self._ring, self._next = state["ring"].numpy(), int(state["next"])
        self._counts, self._items = np.bincount(self._ring[self._ring >= 0], minlength=items), items


class CoOccurrence:
    """Item to item: for each item, the items received by the same users within a few positive events, with counts.

    Of each item so many partners are counted, in bounded memory; a new one takes the place of the rarest and counts on from
    there (Space-Saving, Metwally et al. 2005).
    """

    def __init__(self, partners: int) -> None:
        self._partner: I32 = np.zeros((0, partners), np.int32)
        self._count: F32 = np.zeros((0, partners), np.float32)
        self._total: I64 = np.zeros(0, np.int64)
        self._items = 0

    def grow(self, items: int) -> None:
        """Make room for so many items."""
        self._items = items
        self._partner, self._count = room(self._partner, items, -1), room(self._count, items)
        self._total = room(self._total, items)

    def add(self, at: I64, before: I64, begin: I64, end: I64) -> None:
        """Pair each positive event's item with those received before it: ``before[begin[i]:end[i]]``, all by place."""
        _pair(self._partner, self._count, self._total, at, before, begin, end)

    @property
    def tables(self) -> tuple[I32, F32, I64]:
        """Partners (N, P) with their counts, and how often each item was paired (N,)."""
        return self._partner[: self._items], self._count[: self._items], self._total[: self._items]

    def state(self) -> dict[str, Tensor]:
        """For the cut."""
        partner, count, total = self.tables
        return {"partner": signed(partner), "count": signed(count), "total": signed(total)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up where ``state`` was taken."""
        self._partner, self._count, self._total = (state[name].numpy() for name in ("partner", "count", "total"))
        self._items = len(self._total)


def rivals_state(popularity: Popularity, beside: CoOccurrence) -> dict[str, Tensor]:
    """Both, for the cut."""
    both = (("popular", popularity.state()), ("beside", beside.state()))
    return {f"{whose}.{name}": value for whose, state in both for name, value in state.items()}


def load_rivals(popularity: Popularity, beside: CoOccurrence, state: dict[str, Tensor], items: int) -> None:
    """Take up where ``rivals_state`` was taken."""
    popularity.load(part(state, "popular."), items)
    beside.load(part(state, "beside."))


@nb.njit(cache=True, nogil=True)
def _pair(partner: I32, count: F32, total: I64, at: I64, before: I64, begin: I64, end: I64) -> None:
    for i in range(len(at)):
        for j in range(begin[i], end[i]):
            if before[j] != at[i] and before[j] >= 0:
                _count_one(partner, count, total, at[i], before[j])
                _count_one(partner, count, total, before[j], at[i])


@nb.njit(cache=True, nogil=True)
def _count_one(partner: I32, count: F32, total: I64, one: int, other: int) -> None:
    total[one] += 1
    rarest = 0
    for c in range(partner.shape[1]):
        if partner[one, c] == other:
            count[one, c] += 1
            return
        if count[one, c] < count[one, rarest]:
            rarest = c
    partner[one, rarest] = other
    count[one, rarest] += 1


@nb.njit(cache=True, nogil=True)
def stood_beside(partner: I32, count: F32, total: I64, before: I64, into: F64) -> None:
    """Add to each item's score (N,) how often it stood beside these, over the root of how often both stood at all."""
    for j in range(len(before)):
        one = before[j]
        if one < 0:
            continue
        for c in range(partner.shape[1]):
            other = partner[one, c]
            if other >= 0:
                into[other] += count[one, c] / np.sqrt(np.float32(total[one]) * np.float32(total[other]))
