"""Served events that wait for their outcomes, and the order in which they become final. No files here."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from marm.data.live import Row
from marm.data.place import Mark, Place, first_of


class Held(NamedTuple):
    """An event that is not final yet."""

    row: Row
    values: dict[str, Any]
    """Those of the row: outcomes that follow are put in."""
    time: int
    """Microseconds, of the exposure."""
    heard: float
    """Seconds: when it was taken in."""
    place: Place
    """Where it begins."""


class Early(NamedTuple):
    """Outcomes that came before their event."""

    outcomes: dict[str, Any]
    heard: float
    place: Place
    text: str
    """As it came."""


class Joining:
    """Joins outcomes to events by id, and says which are final: they leave in order of their time.

    An event is ready ``wait`` seconds after it was heard of, unless an event of its time or before is not; for that one it
    waits as long again at most. Everything up to the time of the last one that left has left, so ``until`` only rises.
    """

    def __init__(self, wait: float, until: int, most_ids: int, ids: Iterable[str]) -> None:
        """``until``: microseconds; ``ids``: of events that left already, oldest first, of which ``most_ids`` are kept."""
        self.until = until
        self._wait, self._most_ids = wait, most_ids
        self._held: dict[str, Held] = {}
        self._ids = dict.fromkeys(ids)
        self._early: dict[str, list[Early]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, held: Held) -> str | None:
        """Take an event in; or why it is not: ``duplicate``, ``late``."""
        event_id = held.row.event_id
        if event_id in self._held or event_id in self._ids:
            return "duplicate"
        if held.time < self.until:
            return "late"
        self._held[event_id] = held
        self._greet({event_id})
        return None

    def hold_all(self, some: Sequence[Held]) -> dict[int, str]:
        """Take events in as ``hold`` does, one after another; which are not taken, and why."""
        fresh = {held.row.event_id: held for held in some}
        new = self._held.keys().isdisjoint(fresh) and self._ids.keys().isdisjoint(fresh)
        if new and len(fresh) == len(some) and min((held.time for held in some), default=self.until) >= self.until:
            self._held |= fresh
            self._greet(fresh.keys())
            return {}
        return {at: why for at, held in enumerate(some) if (why := self.hold(held))}

    def join(self, event_id: str, outcomes: dict[str, Any], place: Place | None = None) -> str | None:
        """Put outcomes to their event; or why that cannot be: ``after`` (it left already), ``unknown``.

        Events may be taken in before outcomes that stand before them: ``place``, where the outcomes stand, tells.
        """
        held = self._held.get(event_id)
        if held is None or (place is not None and place < held.place):
            return "after" if event_id in self._ids else "unknown"
        held.values.update(outcomes)
        return None

    def join_sent(self, event_id: str, outcomes: dict[str, Any], sent: float) -> str | None:
        """The same where when both were sent tells, however late or soon they are read."""
        held = self._held.get(event_id)
        if held is None:
            return "after" if event_id in self._ids else "unknown"
        if sent > held.heard + self._wait:
            return "after"
        held.values.update(outcomes)
        return None

    def expect(self, event_id: str, early: Early) -> None:
        """Keep outcomes that ``join`` knows no event of, for one that may follow."""
        self._early.setdefault(event_id, []).append(early)

    def given_up(self, now: float) -> list[Early]:
        """Outcomes whose event did not come in time; they are kept no longer."""
        gone: list[Early] = []
        while self._early:
            event_id, some = next(iter(self._early.items()))
            if some[0].heard + self._wait > now and len(self._early) <= self._most_ids:
                break
            gone += self._early.pop(event_id)
        return gone

    def _greet(self, event_ids: AbstractSet[str]) -> None:
        for event_id in self._early.keys() & event_ids if self._early else ():
            for early in self._early.pop(event_id):
                self._held[event_id].values.update(early.outcomes)

    def ready(self, now: float) -> list[Held]:
        """Events that are final by ``now``, in the order in which they came."""
        oldest = next(iter(self._held.values()), None)
        if oldest is None or oldest.heard + self._wait > now:
            return []
        held = list(self._held.values())
        time = np.array([event.time for event in held], np.int64)
        age = now - np.array([event.heard for event in held])
        open_ = time[age < self._wait]
        ready = time < (open_.min() if len(open_) else np.iinfo(np.int64).max)
        overdue = time[age >= 2 * self._wait]
        if len(overdue):
            ready |= time <= overdue.max()
        return [held[at] for at in np.flatnonzero(ready).tolist()]

    def longest(self, count: int) -> list[Held]:
        """At least one, and about ``count`` that waited longest, as they will be ready: for whoever has no room to wait."""
        heard = np.array([event.heard for event in self._held.values()])
        last = np.partition(heard, min(count, len(heard) - 1))[min(count, len(heard) - 1)]
        # A microsecond more, since sums of seconds are rounded.
        ready = max(last, heard[0]) + self._wait + 1e-6
        return self.ready(ready) or self.ready(ready + self._wait)

    def release(self, final: list[Held]) -> None:
        """These left, all that were ready."""
        left = dict.fromkeys(event.row.event_id for event in final)
        self._held = {event_id: held for event_id, held in self._held.items() if event_id not in left}
        self._ids |= left
        self.until = max([self.until, *(event.time for event in final)])
        for event_id in list(islice(self._ids, max(0, len(self._ids) - self._most_ids))):
            del self._ids[event_id]

    def settled(self, read: Mark) -> Mark:
        """Everything before it has left, where was read up to ``read``."""
        early = (one.place for some in self._early.values() for one in some)
        return first_of(chain((event.place for event in self._held.values()), early), read)
