"""Feedback taken in: checked against the run, appended durably, then shown in live tails; the same id twice is once."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from marm.config import RunConfig, topic_of
from marm.data import inbox
from marm.data.inbox import InboxWriter
from marm.data.live import LiveLog, Row
from marm.data.place import Place, Position, Spot, place_of
from marm.data.record import is_erased
from marm.data.trouble import near_match
from marm.data.values import text_of
from marm.engine.exposures import Exposures
from marm.errors import BrokerError, DataError, DiskError
from marm.server.messages import EventIn, EventsAnswer
from marm.server.popular import Popular
from marm.server.producing import TopicWriter, message_of
from marm.server.served import Served
from marm.server.tail import Reader, Tails, Told, row_of
from marm.server.times import Times
from marm.types import I64, Bool

_AT_ONCE = 4096
NOWHERE = Position(0, -1)
"""Place of an event that came too late to be shown."""


@dataclass
class _Post:
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
    ids: dict[str, tuple[int, frozenset[int]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EventsAnswer.model_fields, 0))


class Feedback:
    """The inbox's one writer; where a topic is followed, that is told first, and the inbox is what this server showed."""

    def __init__(
        self, run: RunConfig, folder: Path, reader: Reader, tails: Tails, times: Times, popular: Popular, now: Served
    ) -> None:
        """Reads what the inbox holds. Errors: ``FolderError`` where another process writes to it, ``DiskError``."""
        self.run, self._reader, self._tails, self._times, self._popular = run, reader, tails, times, popular
        self._live: LiveLog = reader.live
        self._folder = folder / "inbox"
        self._writer = InboxWriter(self._folder)
        topic = run.served_topic
        self._topic = TopicWriter(topic_of("serve.topic", topic), run.serve.topic_wait) if topic else None
        self._ids: OrderedDict[str, tuple[int, frozenset[int]]] = OrderedDict()
        """Users and outcomes of the newest events, by id."""
        self._columns = _columns_of_tasks(run)
        self.served: Callable[[], Served] = lambda: now
        self._replay(now, tails)

    def renew(self) -> None:
        """Read the inbox anew, after a user was erased from it; on the thread that takes feedback."""
        self._ids.clear()
        tails = Tails(self.run)
        self._replay(self.served(), tails)
        self._tails.take_over(tails)

    def close(self) -> None:
        """Give back the inbox."""
        self._writer.close()
        if self._topic:
            self._topic.close()

    def take(self, posts: Sequence[list[EventIn]]) -> list[EventsAnswer | Exception]:
        """Take requests, each all or none; one sync for all. Answers may be ``DataError``, ``DiskError``, ``BrokerError``."""
        made: list[_Post | Exception] = []
        ids: dict[str, tuple[int, frozenset[int]]] = {}
        for post in posts:
            try:
                checked = self._check(post, ids)
                ids |= checked.ids
                made.append(checked)
            except DataError as error:
                made.append(error)
        good = [post for post in made if isinstance(post, _Post)]
        try:
            end = self._write(good)
        except (DiskError, BrokerError) as error:
            return [error if isinstance(post, _Post) else post for post in made]
        self._note(good, end)
        return [EventsAnswer(**post.counts) if isinstance(post, _Post) else post for post in made]

    def _check(self, events: list[EventIn], ids: dict[str, tuple[int, frozenset[int]]]) -> _Post:
        post = _Post()
        names: list[str] = []
        for at, event in enumerate(events):
            name, event_id = f"events[{at}]", text_of(event.event_id)
            outcomes = self._named(event.outcomes, f"{name}.outcomes")
            known = post.ids.get(event_id) or ids.get(event_id) or self._ids.get(event_id)
            if known is None and event.user is not None and event.item is not None:
                self._check_context(event, name)
                post.rows.append(self._row(event, event_id, outcomes, name))
                post.ids[event_id] = (0, _digest(outcomes))
                names.append(name)
            elif known is None and not outcomes:
                raise DataError(f"{name}: {event_id} was not told yet: give its user and item")
            elif known and _digest(outcomes) <= known[1]:
                post.counts["duplicates"] += 1
            else:
                self._check_outcomes(outcomes, name)
                post.follow.append((-1, event_id, outcomes))
                post.counts["outcomes" if known else "unknown"] += 1
                if known:
                    post.ids[event_id] = (known[0], known[1] | _digest(outcomes))
        self._check_rows(post, names)
        return post

    def _check_context(self, event: EventIn, name: str) -> None:
        allowed = [column for column in self._live.values if column not in self._reader.outcomes]
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

    def _check_rows(self, post: _Post, names: list[str]) -> None:
        """Let the run read the new events, see which are late, and write the lines; `marm follow` puts late ones aside."""
        received, late = time.time(), set[int]()
        if post.rows:
            post.seen, post.which, bad = self._reader.read(post.rows)
            if bad:
                raise DataError(f"{names[min(bad)]}: {bad[min(bad)]}")
            late = set(post.which[self._too_late(post.seen, self.served())].tolist())
        for at, row in enumerate(post.rows):
            post.line.append(-1 if at in late else len(post.records))
            post.records.append(self._record(row, received))
        post.counts["late"], post.counts["accepted"] = len(late), len(post.rows) - len(late)
        for at, (_, event_id, outcomes) in enumerate(post.follow):
            post.follow[at] = (len(post.records), event_id, outcomes)
            post.records.append({"kind": "outcomes", "event_id": event_id, "outcomes": outcomes})

    @staticmethod
    def _too_late(seen: Exposures, served: Served) -> Bool:
        """Which events are older than what a cut remembers of their users (n,)."""
        return seen.time < served.guard.last_times(seen.user)

    def _record(self, row: Row, received: float) -> dict[str, Any]:
        outcomes = {name: value for name, value in row.values.items() if name in self._reader.outcomes}
        context = {name: value for name, value in row.values.items() if name not in outcomes}
        told = {"kind": "event", "event_id": row.event_id, "user": row.user, "item": row.item, "at": row.at}
        return told | {"context": context, "outcomes": outcomes, "received": received}

    def _write(self, posts: Sequence[_Post]) -> Position:
        """To the topic first, if there is one: what the inbox holds was acknowledged by the broker."""
        records = [record for post in posts for record in post.records]
        if self._topic and records:
            spots = self._topic.tell([message_of(self.run, record, self._user_of(record)) for record in records])
            for record, spot in zip(records, spots, strict=True):
                record["place"] = list(spot)
        for post in posts:
            post.lines = list(map(orjson.dumps, post.records))
        return self._writer.append([line for post in posts for line in post.lines])

    def _user_of(self, record: dict[str, Any]) -> Any:
        """The user of a record; of outcomes the one of their event, else something that is the same each time."""
        if record["kind"] == "event":
            return record["user"]
        known = self._ids.get(record["event_id"])
        told = self._tails.find(known[0], record["event_id"]) if known else None
        return told.row.user if told else record["event_id"]

    def _note(self, posts: Sequence[_Post], end: Position) -> None:
        """Show what is on the disk: places of lines count back from where they end."""
        begin = end.offset - sum(len(line) + 1 for post in posts for line in post.lines)
        for post in posts:
            places = np.cumsum([0, *(len(line) + 1 for line in post.lines)]) + begin
            begin = int(places[-1])
            self._ids |= post.ids
            if post.seen is not None:
                self._tell(
                    post.rows,
                    [
                        _place(post.records[at], Position(end.file, int(places[at]))) if at >= 0 else NOWHERE
                        for at in post.line
                    ],
                    post.seen,
                    post.which,
                    self._tails,
                )
            for _, event_id, outcomes in post.follow:
                self._amend(event_id, outcomes)
        while len(self._ids) > self.run.serve.ids:
            self._ids.popitem(last=False)

    def _tell(self, rows: Sequence[Row], places: Sequence[Place], seen: Exposures, which: I64, tails: Tails) -> None:
        for at, row in enumerate(which.tolist()):
            told = Told(places[row], rows[row], seen, at)
            if told.place == NOWHERE:
                continue
            held = self._ids.get(rows[row].event_id)
            self._ids[rows[row].event_id] = (told.user, held[1] if held else frozenset())
            tails.add(told)
        if len(seen):
            self._times.newest = max(self._times.newest, int(seen.time.max()))
            self._popular.add(seen.item.tolist(), [rows[row].item for row in which.tolist()])

    def _amend(self, event_id: str, outcomes: dict[str, Any]) -> None:
        known = self._ids.get(event_id)
        told = self._tails.find(known[0], event_id) if known else None
        if told is None:
            return
        row = told.row._replace(values={**told.row.values, **outcomes})
        seen, _, bad = self._reader.read([row])
        if not bad and len(seen):
            self._tails.amend(told, Told(told.place, row, seen, 0))

    def _replay(self, now: Served, tails: Tails) -> None:
        """What the inbox holds: ids of all of it, tails of what is not in the cut."""
        place, rows = inbox.begin_of(self._folder), OrderedDict[str, tuple[Place, Row]]()
        while True:
            lines, end = inbox.read(self._folder, place)
            if not lines:
                break
            begin = end.offset - sum(len(line) + 1 for line in lines)
            for line in lines:
                if not is_erased(line):
                    self._replay_line(orjson.loads(line), Position(end.file, begin), now, rows)
                begin += len(line) + 1
            place = end
            while len(self._ids) > self.run.serve.ids:
                self._ids.popitem(last=False)
        told = list(rows.values())
        for low in range(0, len(told), _AT_ONCE):
            part = told[low : low + _AT_ONCE]
            seen, which, _ = self._reader.read([row for _, row in part])
            places = [place for place, _ in part]
            for at in which[self._too_late(seen, now)].tolist():
                places[at] = NOWHERE
            self._tell([row for _, row in part], places, seen, which, tails)

    def _replay_line(
        self, record: dict[str, Any], place: Position, now: Served, rows: OrderedDict[str, tuple[Place, Row]]
    ) -> None:
        event_id, outcomes = str(record["event_id"]), record.get("outcomes") or {}
        held = self._ids.pop(event_id, (0, frozenset()))
        if record["kind"] == "outcomes":
            if event_id in rows:
                at, row = rows[event_id]
                rows[event_id] = (at, row._replace(values={**row.values, **outcomes}))
        elif not now.since.holds(where := _place(record, place)) and event_id not in now.learned:
            # What was told before there was a topic is learned by nobody: to show it would be to show it for ever.
            shown = where if isinstance(where, Spot) == (self._topic is not None) else NOWHERE
            rows.setdefault(event_id, (shown, row_of(record)))
        self._ids[event_id] = (held[0], held[1] | _digest(outcomes))


def _place(record: dict[str, Any], line: Position) -> Place:
    """Where a record counts: in the topic that it was told to, else where its line stands."""
    return place_of(record["place"]) if "place" in record else line


def _digest(outcomes: dict[str, Any]) -> frozenset[int]:
    return frozenset(hash((name, str(value))) for name, value in outcomes.items())


def _columns_of_tasks(run: RunConfig) -> dict[str, str]:
    """Tasks that are a column as it is, and the column."""
    plain = {name: task for name, task in run.tasks.items() if task.at_least is None and task.equals is None}
    return {name: task.column for name, task in plain.items() if task.column is not None and task.divide_by is None}
