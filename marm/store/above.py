"""A store to write to above one that is only read: a user lies in the upper one from the first append to it on."""

from dataclasses import replace
from typing import Any

import numpy as np

from marm.store.base import Facts, Holding, Rows, Space, Store, StoreStats, space_of
from marm.store.rings import starts, stats_of
from marm.store.slots import SlotMap
from marm.types import I64, U8, U64, Bool


class Above:
    """The contract of ``Store``, by copying users up when they are appended to; the lower store stays as it is."""

    def __init__(self, lower: Store, upper: Store) -> None:
        """``upper``: of the same layout, and empty."""
        self.layout, self.durable, self.generation = lower.layout, upper.durable, lower.generation
        self._lower, self._upper, self._cut = lower, upper, lower.last_cut()
        self._up = SlotMap()
        self._begin = np.zeros(1, np.int64)
        """Of users in the upper store: position below which the lower one had lost facts, so that what stands there is none."""

    @property
    def damaged(self) -> set[int]:
        """Users whose bytes were found wrong, in the store where they lie."""
        up = set(self._up.entries()[0].tolist())
        return (self._lower.damaged - up) | self._upper.damaged

    @property
    def gone(self) -> set[int]:
        """Nobody, where the upper store lies on this machine."""
        return self._upper.gone

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        slots = self._up.find(users)
        up = slots >= 0
        low, high = (
            store.read_facts(users[which], count, before if before is None else before[which])
            for store, which in ((self._lower, ~up), (self._upper, up))
        )
        high = _without(high, self._begin[slots[up]])
        names = ("next", "states_from", "first", "counts")
        by_user = {name: _merged(up, getattr(low, name), getattr(high, name)) for name in names}
        return Facts(**by_user, facts=_merged(np.repeat(up, by_user["counts"]), low.facts, high.facts))

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        up = self._up.find(users) >= 0
        row = np.repeat(up, counts)
        low, high = (
            store.read_states(users[which], first[which], counts[which])
            for store, which in ((self._lower, ~up), (self._upper, up))
        )
        return _merged(row, low[0], high[0]), _merged(row, low[1], high[1])

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay)."""
        if cut <= self._cut:
            return
        self._lift(np.setdiff1d(rows.users, rows.forgotten))
        self._upper.append(rows, self._upper.last_cut() + 1)
        self._note(np.union1d(rows.users, rows.forgotten), 0)
        self._cut = cut

    def _note(self, users: U64, begin: I64 | int) -> None:
        """From now on these users are looked for in the upper store; who was there already keeps where it begins."""
        new = self._up.find(users) < 0
        slots = self._up.insert(users)
        if self._up.top >= len(self._begin):
            self._begin = np.concatenate([self._begin, np.zeros(2 * self._up.top, np.int64)])
        self._begin[slots[new]] = np.broadcast_to(begin, new.shape)[new]

    def _lift(self, users: U64) -> None:
        """Copy users up who are not there yet, with all that the lower store has of them."""
        users = users[self._up.find(users) < 0]
        found = self._lower.read_facts(users, self.layout.facts_kept)
        known = found.next > 0
        if not known.any():
            return
        states, there = self._lower.read_states(users, found.first, found.counts)
        owner = np.repeat(np.arange(len(users)), found.counts)
        missing = np.bincount(owner[~there], minlength=len(users))
        states_from = np.minimum(np.maximum(found.states_from, found.first + missing), found.next)
        # A ring is whole or begins at 0: rows that a writer let go meanwhile are made up here, and hidden when read.
        whole = np.maximum(found.next - self.layout.facts_kept, 0)
        counts = found.next - whole
        at = np.arange(len(owner)) + (starts(counts) + found.first - whole - starts(found.counts))[owner]
        facts = np.zeros((int(counts.sum()), self.layout.facts_bytes), np.uint8)
        coded = np.zeros((len(facts), self.layout.state_bytes), np.uint8)
        facts[at], coded[at] = found.facts, states
        rows = Rows(users, whole, counts, facts, coded, states_from, self._seen(users))
        self._upper.append(rows.of(known), self._upper.last_cut() + 1)
        self._note(users, found.first)

    def _seen(self, users: U64) -> I64:
        held = self._lower.holding()
        order = np.argsort(held.users)
        at = np.searchsorted(held.users[order], users).clip(0, max(len(order) - 1, 0))
        if not len(order):
            return np.zeros(len(users), np.int64)
        return np.where(held.users[order][at] == users, held.seen[order][at], 0)

    def forget(self, users: U64) -> None:
        """Forget users wholly, now; the lower store keeps them."""
        self._upper.forget(users)
        self._note(np.unique(users), 0)

    def serving(self) -> str:
        """Generation that serves now."""
        return self._lower.serving()

    def last_cut(self) -> int:
        """Number of the last append; before the first, the lower store's."""
        return self._cut

    def holding(self) -> Holding:
        """Every user in either store."""
        low, high = self._lower.holding(), self._upper.holding()
        stay = self._up.find(low.users) < 0
        names = ("users", "next", "states_from", "seen")
        return Holding(*(np.concatenate([getattr(low, name)[stay], getattr(high, name)]) for name in names))

    def stats(self) -> StoreStats:
        """Users, rows and bytes."""
        return stats_of(self.holding(), self.layout)

    def space(self) -> Space:
        """Bytes where both lie."""
        low, high = self._lower.space(), self._upper.space()
        return space_of(low.used + high.used, low.taken + high.taken)

    def clear(self) -> None:
        """Not here."""
        raise ValueError("a store above another one is not cleared")

    def close(self) -> None:
        """Give back both."""
        self._upper.close()
        self._lower.close()


def _without(found: Facts, begin: I64) -> Facts:
    """Facts from a position of each user on."""
    dropped = np.clip(begin - found.first, 0, found.counts)
    row = np.arange(len(found.facts)) - np.repeat(starts(found.counts), found.counts)
    facts = found.facts[row >= np.repeat(dropped, found.counts)]
    return replace(found, first=found.first + dropped, counts=found.counts - dropped, facts=facts)


def _merged(up: Bool, low: Any, high: Any) -> Any:
    """Rows of two arrays, of the second where ``up``."""
    out = np.empty((len(up), *low.shape[1:]), low.dtype)
    out[~up], out[up] = low, high
    return out
