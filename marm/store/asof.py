"""A store as it was at a cut: what a later cut appended is not there (readers never see rows beyond their cut)."""

from dataclasses import replace

import numpy as np

from marm.store.base import Facts, Holding, Rows, Space, Store, StoreStats, offsets
from marm.store.rings import stats_of
from marm.store.slots import SlotMap
from marm.store.whole import read_both
from marm.types import I64, U8, U64, Bool


class AsOf:
    """Wraps a store that another process appends to; to read only. States that the rings have let go since are not there."""

    def __init__(self, store: Store, holding: Holding) -> None:
        """``holding``: who was in the store at the cut, and up to where."""
        self.layout, self.durable, self.damaged = store.layout, store.durable, store.damaged
        self.generation, self.gone = store.generation, set[int]()
        self._store, self._holding = store, holding
        self._map = SlotMap(len(holding.users))
        self._next = np.zeros(len(holding.users) + 1, np.int64)
        self._next[self._map.insert(holding.users)] = holding.next

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user as of the cut, strictly before its time ``before`` where given."""
        return self._as_of(self._store.read_facts(users, count, before), users, count, before)

    def read_both(self, users: U64, count: int, first: I64, counts: I64) -> tuple[Facts, U8, Bool]:
        """The newest ``count`` facts as of the cut, and states at these positions."""
        found, states, there = read_both(self._store, users, count, first, counts)
        return self._as_of(found, users, count), states, there

    def ends(self, users: U64) -> I64:
        """Where users' rings ended at the cut (B,)."""
        ends: I64 = self._next[self._map.find(users)]  # a user that was not there: the last place, which is 0
        return ends

    def _as_of(self, found: Facts, users: U64, count: int, before: I64 | None = None) -> Facts:
        """What was found, without what is beyond the cut; where that took the place of what is not, it is read again."""
        upto, more = self.ends(users), 0
        while (beyond := int((found.next - upto).max(initial=0))) > more:
            found, more = self._store.read_facts(users, count + beyond, before), beyond
        return self._cut(found, upto, count) if more else found

    def _cut(self, found: Facts, upto: I64, count: int) -> Facts:
        end = np.minimum(found.first + found.counts, np.maximum(upto, found.first))
        first = np.maximum(found.first, end - count)
        position = np.arange(len(found.facts)) + np.repeat(found.first - offsets(found.counts)[:-1], found.counts)
        keep = (position >= np.repeat(first, found.counts)) & (position < np.repeat(end, found.counts))
        states_from = np.maximum(found.states_from, found.next - self.layout.states_kept)
        next_ = np.minimum(found.next, upto)
        return Facts(next_, np.minimum(states_from, next_), first, end - first, found.facts[keep])

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions, and whether each is there."""
        return self._store.read_states(users, first, counts)

    def append(self, rows: Rows, cut: int) -> None:
        """Not here."""
        raise ValueError("a store as of a cut is read only")

    def forget(self, users: U64) -> None:
        """Not here."""
        raise ValueError("a store as of a cut is read only")

    def serving(self) -> str:
        """Generation that serves now."""
        return self._store.serving()

    def last_cut(self) -> int:
        """Number of the last append, whoever made it."""
        return self._store.last_cut()

    def holding(self) -> Holding:
        """Every user as of the cut."""
        return replace(self._holding)

    def stats(self) -> StoreStats:
        """Users, rows and bytes as of the cut."""
        return stats_of(self._holding, self.layout)

    def space(self) -> Space:
        """Bytes where the store lies, later cuts and all."""
        return self._store.space()

    def clear(self) -> None:
        """Not here."""
        raise ValueError("a store as of a cut is read only")

    def close(self) -> None:
        """Give back the store."""
        self._store.close()
