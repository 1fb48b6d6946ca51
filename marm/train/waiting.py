"""Exposures that were scored and wait to be learned from: until their outcome is known, or their segment is closed."""

import numba as nb
import numpy as np

from marm.engine.exposures import Exposures, join
from marm.store.slots import SlotMap
from marm.train.steps import tie_groups
from marm.types import I64, U64, Bool


class Waiting:
    """In order of the stream; a user's exposures are learned in their order, tie groups whole."""

    def __init__(self, segment: int, after: float) -> None:
        """``segment``: events of a user that close a segment; ``after``: microseconds of stream time that do."""
        self._segment, self._after = max(segment, 1), int(after)
        self.held: Exposures | None = None
        self.remembered: Bool = np.zeros(0, bool)

    def __len__(self) -> int:
        return len(self.held) if self.held else 0

    def add(self, seen: Exposures, remembered: Bool) -> None:
        """Exposures just scored, some of them remembered already."""
        self.held = join(self.held, seen) if self.held else seen
        self.remembered = np.concatenate([self.remembered, remembered])

    def due(self, now: int | None) -> I64:
        """Places of those to learn from at ``now`` (None: all, the stream has ended)."""
        if self.held is None or now is None:
            return np.arange(len(self))
        held = self.held
        user = SlotMap(len(held)).insert(held.user)
        order = np.argsort(user, kind="stable")
        due = np.zeros(len(held), bool)
        due[order] = _due(user[order], held.time[order], held.known[order], now, self._segment, self._after)
        return np.flatnonzero(due)

    def tail(self, users: np.ndarray, now: int) -> I64:
        """Places of these users' exposures that are not remembered yet and may enter histories: their live tail."""
        if self.held is None:
            return np.zeros(0, np.int64)
        return np.flatnonzero(~self.remembered & may_enter(self.held, now) & np.isin(self.held.user, users))

    def release(self, places: I64) -> None:
        """These were learned from."""
        assert self.held is not None
        keep = np.ones(len(self), bool)
        keep[places] = False
        left = np.flatnonzero(keep)
        self.held, self.remembered = self.held.pick(left) if len(left) else None, self.remembered[left]


@nb.njit(cache=True, nogil=True)
def _due(user: I64, time: I64, known: I64, now: int, segment: int, after: int) -> Bool:
    """For exposures in order of user and stream: whether each is to be learned from now."""
    due = np.zeros(len(user), np.bool_)
    begin = 0
    while begin < len(user):
        end = begin
        while end < len(user) and user[end] == user[begin]:
            end += 1
        ready = begin
        while ready < end:
            tie, known_by = ready, known[ready]
            while tie < end and time[tie] == time[ready]:
                known_by = max(known_by, known[tie])
                tie += 1
            if known_by > now:
                break
            ready = tie
        if ready - begin >= segment or now - time[begin] >= after:
            due[begin:ready] = True
        begin = end
    return due


def may_enter(seen: Exposures, now: int) -> Bool:
    """Whether each enters histories; true where that hangs on an outcome not known yet, which must not show in anything."""
    return seen.history | (seen.known > now)


def first_of_user(users: np.ndarray, new: np.ndarray) -> I64:
    """Place of the first of ``new`` that is of each user."""
    map_ = SlotMap(len(new))
    slot = map_.insert(new)
    place = np.empty(len(map_), np.int64)
    place[slot[::-1]] = np.arange(len(new))[::-1]
    return place[map_.find(users)]


def beyond(user: np.ndarray, limit: int) -> Bool:
    """Of exposures in order of the stream: all but each user's last ``limit``."""
    slot = SlotMap(len(user)).insert(user)
    order = np.argsort(slot, kind="stable")
    ends = np.searchsorted(slot[order], slot[order], side="right")
    out = np.zeros(len(user), bool)
    out[order] = ends - np.arange(len(user)) > limit
    return out


def beyond_whole(user: U64, time: I64, limit: int) -> Bool:
    """The same with whole tie groups, a user's exposures in its order.

    What is recalled lies before a live tail's first time: a group's half that is remembered would be seen by nobody.
    """
    return beyond(user, limit)[tie_groups(user, time)[0]]
