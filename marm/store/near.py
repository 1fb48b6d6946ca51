"""Users whose rows are kept in this process, each under the meta that its store had for it when they were read."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from marm.types import U8

_ENTRY = 600
"""Bytes that keeping a user takes besides its rows."""


@dataclass(frozen=True)
class Kept:
    """A user as it was under a meta: its newest facts and states, each from a position on, up to the next one."""

    meta: bytes
    next: int
    states_from: int
    facts: U8
    states: U8

    @property
    def bytes(self) -> int:
        """That keeping it takes."""
        return _ENTRY + self.facts.nbytes + self.states.nbytes

    def span(self, count: int, before: int | None, floor: int) -> tuple[int, int] | None:
        """Where the newest facts before a time lie, of those that the store keeps; None where more of them are needed."""
        begin = self.next - len(self.facts)
        upto = self.next
        if before is not None:
            times = self.facts[:, :8].copy().view(np.int64)[:, 0]
            upto = begin + int(np.searchsorted(times, before))
        first = max(upto - count, floor)
        return None if first < begin or upto == begin > floor else (first, upto)


class Near:
    """The users kept, within so many bytes, who was read longest ago gone first; any thread may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self.bytes = most_bytes, 0
        self.asked = self.found = 0
        """Users that were read, and those of them that nothing was sent of."""
        self._users: OrderedDict[int, Kept] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._users)

    def find(self, users: list[int]) -> list[Kept | None]:
        """What is kept of users."""
        with self._lock:
            self.asked += len(users)
            for user in users:
                if user in self._users:
                    self._users.move_to_end(user)
            return [self._users.get(user) for user in users]

    def note(self, found: int) -> None:
        """Of the users asked for, so many were good."""
        with self._lock:
            self.found += found

    def keep(self, user: int, kept: Kept) -> None:
        """Keep rows of a user, and of those that are kept under the same meta the longer ones."""
        with self._lock:
            held = self._users.get(user)
            if held is not None and held.meta == kept.meta:
                facts, states = max(held.facts, kept.facts, key=len), max(held.states, kept.states, key=len)
                kept = replace(kept, facts=facts, states=states)
            self._drop(user)
            self._users[user] = kept
            self.bytes += kept.bytes
            while self.bytes > self._most:
                self._drop(next(iter(self._users)))

    def clear(self) -> None:
        """Let go of everybody."""
        with self._lock:
            self._users.clear()
            self.bytes = 0

    def _drop(self, user: int) -> None:
        held = self._users.pop(user, None)
        self.bytes -= held.bytes if held else 0
