"""Whose states to drop when the bytes run out: the least recently active user's, in the order of the stream.

A function of the stream alone, never of the clock or of when a cut was made, so that a resumed run drops the same.
"""

import numpy as np

from marm.store.base import Holding
from marm.store.slots import SlotMap
from marm.types import I64, U64

_DOWN_TO = 0.9
"""Dropping goes down to this share of the budget, so that it is rare."""


class Budget:
    """Rows of states held by each user, and when each was last active."""

    def __init__(self, most_bytes: int, row_bytes: int, kept: int) -> None:
        self.most_bytes = most_bytes
        self._most = most_bytes // row_bytes if row_bytes else 1 << 62
        self._kept = kept
        self._map = SlotMap()
        self._next, self._from, self._seen = (np.zeros(0, np.int64) for _ in range(3))
        self.rows = 0
        self.dropped_users = 0

    def adopt(self, holding: Holding) -> None:
        """Take over what a store holds."""
        at = self._slots(holding.users)
        self._next[at], self._from[at], self._seen[at] = holding.next, holding.states_from, holding.seen
        self.rows = int(self._rows(at).sum())

    def note(self, users: U64, next_: I64, seen: I64) -> None:
        """Users grew to these positions, last active at these events of the stream."""
        at = self._slots(users)
        self.rows -= int(self._rows(at).sum())
        self._next[at], self._seen[at] = next_, seen
        self.rows += int(self._rows(at).sum())

    def begin_anew(self, users: U64, states_from: I64) -> None:
        """Rows of users below these positions have no states any more."""
        at = self._slots(users)
        self.rows -= int(self._rows(at).sum())
        self._from[at] = states_from
        self.rows += int(self._rows(at).sum())

    def forget(self, users: U64) -> None:
        """Users that are gone wholly."""
        at = self._map.remove(users)
        at = at[at >= 0]
        self.rows -= int(self._rows(at).sum())
        self._next[at] = self._from[at] = self._seen[at] = 0

    def of(self, users: U64) -> tuple[U64, I64, I64]:
        """Those of the users that are known, as ``drop`` has them."""
        at = self._map.find(users)
        known = at >= 0
        return users[known], self._next[at[known]], self._seen[at[known]]

    def ends(self, users: U64) -> I64:
        """Where users' rings end (B,); 0 for those not known."""
        return self._at(users, self._next)

    def seen(self, users: U64) -> I64:
        """Event of the stream at which users were last active (B,); 0 for those not known."""
        return self._at(users, self._seen)

    def _at(self, users: U64, column: I64) -> I64:
        at = self._map.find(users)
        known = at >= 0
        out = np.zeros(len(users), np.int64)
        out[known] = column[at[known]]
        return out

    def unseen_since(self, number: int) -> tuple[U64, I64, I64]:
        """Users with states that were last active before an event of the stream, as ``drop`` has them."""
        users, at = self._map.entries()
        old = (self._seen[at] < number) & (self._rows(at) > 0)
        return users[old], self._next[at[old]], self._seen[at[old]]

    def drop(self) -> tuple[U64, I64, I64]:
        """Users whose states must go now, the position that they begin anew at, and when they were last active."""
        if self.rows <= self._most:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        users, at = self._map.entries()
        rows = self._rows(at)
        oldest = np.lexsort((users, self._seen[at]))
        left = self.rows - np.cumsum(rows[oldest])
        chosen = oldest[: int(np.searchsorted(-left, -_DOWN_TO * self._most)) + 1]
        chosen = chosen[rows[chosen] > 0]
        at = at[chosen]
        self.rows -= int(rows[chosen].sum())
        self._from[at] = self._next[at]
        self.dropped_users += len(at)
        return users[chosen], self._next[at], self._seen[at]

    def _rows(self, at: I64) -> I64:
        rows: I64 = np.minimum(self._next[at] - self._from[at], self._kept)
        return rows

    def _slots(self, users: U64) -> I64:
        at = self._map.insert(users)
        grow = self._map.top - len(self._next)
        if grow > 0:
            grow = max(grow, len(self._next))
            self._next, self._from, self._seen = (
                np.concatenate([a, np.zeros(grow, np.int64)]) for a in (self._next, self._from, self._seen)
            )
        return at
