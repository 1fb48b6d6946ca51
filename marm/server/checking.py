"""Feedback held against the run, before anything is written: what a request tells, row by row, and what it may not tell."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.data.live import Row
from marm.data.trouble import near_match
from marm.data.values import text_of
from marm.engine.exposures import Exposures
from marm.errors import DataError
from marm.server.messages import EventIn, EventsAnswer
from marm.server.served import Served
from marm.server.tail import Reader
from marm.server.times import Times
from marm.types import I64, Bool

Said = dict[str, tuple[int, ...]]
"""What each outcome was said to be, as hashes, the newest last."""
Known = tuple[int, Said]
"""Of an event that was told: its user's hash, 0 where that is not at hand, and its outcomes so far."""
_SAID = 8
"""Values of an outcome that are kept."""


@dataclass
class Post:
    """One request's events on their way."""

    records: list[dict[str, Any]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    """The same, as they are written."""
    rows: list[Row] = field(default_factory=list)
    """New events."""
    line: list[int] = field(default_factory=list)
    """The record that each of them is; -1: not to be shown, it came too late."""
    seen: Exposures | None = None
    which: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """Exposures of those that ``data.where`` keeps, and the row that each is."""
    follow: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    """Outcomes that followed: record, event, columns."""
    ids: dict[str, Known] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EventsAnswer.model_fields, 0))


class Checker:
    """Knows what the run's log has, and so what can be told."""

    def __init__(self, run: RunConfig, reader: Reader, times: Times) -> None:
        self.run, self._reader, self._times = run, reader, times
        self._columns = _columns_of_tasks(run)

    def check(self, events: list[EventIn], told: Mapping[str, Known], served: Served) -> Post:
        """A request's events as records to write. ``told``: events by id. Errors: ``DataError`` naming the row."""
        post = Post()
        names: list[str] = []
        for at, event in enumerate(events):
            name, event_id = f"events[{at}]", text_of(event.event_id)
            outcomes = self._named(event.outcomes, f"{name}.outcomes")
            known = post.ids.get(event_id) or told.get(event_id)
            if known is None and event.user is not None and event.item is not None:
                self._check_context(event, name)
                post.rows.append(self._row(event, event_id, outcomes, name))
                post.ids[event_id] = (0, said_more({}, outcomes))
                names.append(name)
            elif known is None and not outcomes:
                raise DataError(f"{name}: {event_id} was not told yet: give its user and item")
            elif known and said_before(known[1], outcomes, again=event.user is not None):
                post.counts["duplicates"] += 1
            else:
                self._check_outcomes(outcomes, name)
                post.follow.append((-1, event_id, outcomes))
                post.counts["outcomes" if known else "unknown"] += 1
                if known:
                    post.ids[event_id] = (known[0], said_more(known[1], outcomes))
        self._check_rows(post, names, served)
        return post

    def _check_context(self, event: EventIn, name: str) -> None:
        allowed = [column for column in self._reader.live.values if column not in self._reader.outcomes]
        for column in event.context:
            if column not in allowed:
                near = near_match(column, allowed)
                hint = f"did you mean {near}?" if near else f"the run has {', '.join(allowed) or 'none'}"
                raise DataError(f"{name}.context: no {column}: {hint}")

    def _row(self, event: EventIn, event_id: str, outcomes: dict[str, Any], name: str) -> Row:
        at = self._times.written(self._times.now()) if event.at is None else event.at
        try:
            micros = self._times.read(at)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        if micros > (time.time() + self.run.follow.ahead) * 1e6:
            raise DataError(f"{name}: at = {at!r} is in the future: mend the clock that it came from")
        return Row(event_id, event.user, event.item, at, {**event.context, **outcomes})

    def _named(self, outcomes: dict[str, Any], name: str) -> dict[str, Any]:
        """Outcomes by column of the log; names of tasks that are a column as it is are taken too."""
        out: dict[str, Any] = {}
        for key, value in outcomes.items():
            column = key if key in self._reader.outcomes else self._columns.get(key)
            if column is None:
                task = self.run.tasks.get(key)
                if task is not None and task.column is None:
                    continue  # positive on every row: nothing is said that the event does not say
                near = near_match(key, sorted({*self._reader.outcomes, *self._columns}))
                hint = f"give {task.column}, of which it is made" if task else f"did you mean {near}?" if near else ""
                told = hint or f"the run has {', '.join(sorted(self._reader.outcomes))}"
                raise DataError(f"{name}: no outcome {key}: {told}")
            out[column] = value
        return out

    def _check_outcomes(self, outcomes: dict[str, Any], name: str) -> None:
        at = self._times.written(self._times.newest)
        _, _, bad = self._reader.read([Row("", "0", "0", at, outcomes)])
        if bad:
            raise DataError(f"{name}: {bad[0]}")

    def _check_rows(self, post: Post, names: list[str], served: Served) -> None:
        """Let the run read the new events, see which are late, and write the lines; `marm follow` puts late ones aside."""
        received, late = time.time(), set[int]()
        if post.rows:
            post.seen, post.which, bad = self._reader.read(post.rows)
            if bad:
                raise DataError(f"{names[min(bad)]}: {bad[min(bad)]}")
            late = set(post.which[too_late(post.seen, served)].tolist())
        for at, row in enumerate(post.rows):
            post.line.append(-1 if at in late else len(post.records))
            post.records.append(self._record(row, received))
        kept = len(set(post.which.tolist()))
        post.counts |= {"late": len(late), "accepted": kept - len(late), "dropped": len(post.rows) - kept}
        for at, (_, event_id, outcomes) in enumerate(post.follow):
            post.follow[at] = (len(post.records), event_id, outcomes)
            post.records.append({"kind": "outcomes", "event_id": event_id, "outcomes": outcomes})

    def _record(self, row: Row, received: float) -> dict[str, Any]:
        outcomes = {name: value for name, value in row.values.items() if name in self._reader.outcomes}
        context = {name: value for name, value in row.values.items() if name not in outcomes}
        told = {"kind": "event", "event_id": row.event_id, "user": row.user, "item": row.item, "at": row.at}
        return told | {"context": context, "outcomes": outcomes, "received": received}


def too_late(seen: Exposures, served: Served) -> Bool:
    """Which events are older than what a cut remembers of their users (n,)."""
    return seen.time < served.guard.last_times(seen.user)


def said_before(said: Said, outcomes: dict[str, Any], again: bool) -> bool:
    """Whether outcomes say nothing new.

    What follows an event is new unless it was said last: who likes, takes it back and likes again says so three times. An
    event told ``again`` may be an old try that came late: new is only what was never said.
    """
    ever = {name: said.get(name, ()) for name in outcomes}
    return all(_hash(value) in (ever[name] if again else ever[name][-1:]) for name, value in outcomes.items())


def said_more(said: Said, outcomes: dict[str, Any]) -> Said:
    """What was said, with these said after it."""
    more: Said = {}
    for name, value in outcomes.items():
        before = [one for one in said.get(name, ()) if one != _hash(value)]
        more[intern(name)] = (*before, _hash(value))[-_SAID:]
    return said | more


def _hash(value: Any) -> int:
    return hash(str(value))


def _columns_of_tasks(run: RunConfig) -> dict[str, str]:
    """Tasks that are a column as it is, and the column."""
    plain = {name: task for name, task in run.tasks.items() if task.at_least is None and task.equals is None}
    return {name: task.column for name, task in plain.items() if task.column is not None and task.divide_by is None}
