"""Feedback taken in: checked against the run, appended durably, shown in live tails; what other servers took is heard."""

from collections import ChainMap, OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from marm.config import RunConfig, topic_of
from marm.data import inbox
from marm.data.inbox import InboxWriter
from marm.data.live import Row
from marm.data.place import Place, Position, Spot, place_of
from marm.data.record import is_erased
from marm.engine.exposures import Exposures
from marm.errors import BrokerError, DataError, DiskError, FolderError
from marm.server.checking import Checker, Known, Post, said_more, too_late
from marm.server.messages import EventIn, EventsAnswer
from marm.server.popular import Popular
from marm.server.producing import TopicWriter, message_of
from marm.server.served import Served
from marm.server.tail import Reader, Tails, Told, row_of
from marm.server.times import Times
from marm.types import I64

_AT_ONCE = 4096
NOWHERE = Position(0, -1)
"""Place of an event that came too late to be shown."""


class Feedback:
    """Writes to the inbox, in turn with other servers of the folder, and knows what they wrote.

    Where a topic is followed that is told first, and the inbox is what these servers showed.
    """

    def __init__(
        self, run: RunConfig, folder: Path, reader: Reader, tails: Tails, times: Times, popular: Popular, now: Served
    ) -> None:
        """Reads what the inbox holds. Errors: ``FolderError`` where another process hangs on to it, ``DiskError``."""
        self.run, self._reader, self._tails, self._times, self._popular = run, reader, tails, times, popular
        self._checker = Checker(run, reader, times)
        self._folder = folder / "inbox"
        self._writer = InboxWriter(self._folder)
        topic = run.served_topic
        self._topic = TopicWriter(topic_of("serve.topic", topic), run.serve.topic_wait) if topic else None
        self._ids: OrderedDict[str, Known] = OrderedDict()
        """The newest events, by id."""
        self.served: Callable[[], Served] = lambda: now
        self._heard = inbox.begin_of(self._folder)
        self.hear()

    def renew(self) -> None:
        """Read the inbox anew, after a user was erased from it; on the thread that takes feedback."""
        self._ids.clear()
        self._heard, shown = inbox.begin_of(self._folder), self._tails
        self._tails = Tails(self.run)
        try:
            self.hear()
            shown.take_over(self._tails)
        finally:
            self._tails = shown

    def close(self) -> None:
        """Give back the inbox."""
        self._writer.close()
        if self._topic:
            self._topic.close()

    def take(self, posts: Sequence[list[EventIn]]) -> list[EventsAnswer | Exception]:
        """Take requests, each all or none; one sync for all.

        Answers may be ``DataError``, ``DiskError``, ``BrokerError``, and ``FolderError`` where another server hangs.
        """
        try:
            if self._topic:
                return self._take(posts)
            with self._writer.turn():
                # What others took comes first: among all servers an id is taken once.
                self.hear()
                return self._take(posts)
        except (DiskError, FolderError) as error:
            return [error for _ in posts]

    def _take(self, posts: Sequence[list[EventIn]]) -> list[EventsAnswer | Exception]:
        made: list[Post | Exception] = []
        known = ChainMap[str, Known]({}, self._ids)
        for post in posts:
            try:
                checked = self._checker.check(post, known, self.served())
                known.update(checked.ids)
                made.append(checked)
            except DataError as error:
                made.append(error)
        good = [post for post in made if isinstance(post, Post)]
        try:
            end = self._write(good)
        except (DiskError, BrokerError, FolderError) as error:
            return [error if isinstance(post, Post) else post for post in made]
        self._show_posts(good, end)
        return [EventsAnswer(**post.counts) if isinstance(post, Post) else post for post in made]

    def _write(self, posts: Sequence[Post]) -> Position:
        """To the topic first, if there is one: what the inbox holds was acknowledged by the broker."""
        records = [record for post in posts for record in post.records]
        if self._topic and records:
            spots = self._topic.tell([message_of(self.run, record, self._user_of(record)) for record in records])
            for record, spot in zip(records, spots, strict=True):
                record["place"] = list(spot)
        for post in posts:
            post.lines = list(map(orjson.dumps, post.records))
        with self._writer.turn():
            self.hear()
            self._heard = self._writer.append([line for post in posts for line in post.lines])
        return self._heard

    def _user_of(self, record: dict[str, Any]) -> Any:
        """The user of a record; of outcomes the one of their event, else something that is the same each time."""
        if record["kind"] == "event":
            return record["user"]
        known = self._ids.get(record["event_id"])
        told = self._tails.find(known[0], record["event_id"]) if known else None
        return told.row.user if told else record["event_id"]

    def _show_posts(self, posts: Sequence[Post], end: Position) -> None:
        """Show requests that are on the disk: places of lines count back from where they end."""
        begin = end.offset - sum(len(line) + 1 for post in posts for line in post.lines)
        for post in posts:
            places = np.cumsum([0, *(len(line) + 1 for line in post.lines)]) + begin
            begin = int(places[-1])
            for event_id, (user, said) in post.ids.items():
                # Of an event that another request told meanwhile this one did not know the user.
                self._ids[event_id] = (user or self._ids.get(event_id, (0, said))[0], said)
            if post.seen is not None:
                begins = [Position(end.file, int(place)) for place in places]
                shown = [_place(post.records[at], begins[at]) if at >= 0 else NOWHERE for at in post.line]
                self._show_events(post.rows, shown, post.seen, post.which)
            for _, event_id, outcomes in post.follow:
                self._show_outcomes(event_id, outcomes)
        self._forget_old()

    def _forget_old(self) -> None:
        while len(self._ids) > self.run.serve.ids:
            self._ids.popitem(last=False)

    def _show_events(self, rows: Sequence[Row], places: Sequence[Place], seen: Exposures, which: I64) -> None:
        """Show new events that count, each with the row that it is."""
        for at, row in enumerate(which.tolist()):
            told = Told(places[row], rows[row], seen, at)
            if told.place == NOWHERE:
                continue
            held = self._ids.get(rows[row].event_id)
            self._ids[rows[row].event_id] = (told.user, held[1] if held else {})
            self._tails.add(told)
        if len(seen):
            self._times.newest = max(self._times.newest, int(seen.time.max()))
            self._popular.add(seen.item.tolist(), [rows[row].item for row in which.tolist()])

    def _show_outcomes(self, event_id: str, outcomes: dict[str, Any]) -> None:
        """Show an event with what followed it, if it is shown at all."""
        known = self._ids.get(event_id)
        told = self._tails.find(known[0], event_id) if known else None
        if told is None:
            return
        row = told.row._replace(values={**told.row.values, **outcomes})
        seen, _, bad = self._reader.read([row])
        if not bad and len(seen):
            self._tails.amend(told, Told(told.place, row, seen, 0))

    def waits(self) -> bool:
        """Whether another server wrote something that was not heard yet."""
        return inbox.end_of(self._folder) > self._heard

    def hear(self) -> None:
        """Read on in the inbox: ids of all, tails of what is not in the cut; on the thread that takes feedback."""
        now = self.served()
        while True:
            lines, end = inbox.read(self._folder, self._heard)
            if not lines:
                break
            self._hear_lines(lines, end, now)
            self._heard = end
            self._forget_old()

    def _hear_lines(self, lines: list[bytes], end: Position, now: Served) -> None:
        """Know and show what other servers, or this one before a restart, wrote up to ``end``."""
        begin, new = end.offset - sum(len(line) + 1 for line in lines), dict[str, tuple[Place, Row]]()
        for line in lines:
            if not is_erased(line):
                self._hear_record(orjson.loads(line), Position(end.file, begin), now, new)
            begin += len(line) + 1
        told = list(new.values())
        for low in range(0, len(told), _AT_ONCE):
            part = told[low : low + _AT_ONCE]
            seen, which, _ = self._reader.read([row for _, row in part])
            places = [place for place, _ in part]
            for at in which[too_late(seen, now)].tolist():
                places[at] = NOWHERE
            self._show_events([row for _, row in part], places, seen, which)

    def _hear_record(
        self, record: dict[str, Any], place: Position, now: Served, new: dict[str, tuple[Place, Row]]
    ) -> None:
        """Know a record; an event to be shown goes into ``new``, by id, and outcomes to their event there or shown before."""
        event_id, outcomes = str(record["event_id"]), record.get("outcomes") or {}
        known = self._ids.get(event_id)
        if record["kind"] == "outcomes":
            if event_id in new:
                at, row = new[event_id]
                new[event_id] = (at, row._replace(values={**row.values, **outcomes}))
            else:
                self._show_outcomes(event_id, outcomes)
            if known is None:
                return
        elif known is None and not now.since.holds(where := _place(record, place)) and event_id not in now.learned:
            # What was told before there was a topic is learned by nobody: to show it would be to show it for ever.
            shown = where if isinstance(where, Spot) == (self._topic is not None) else NOWHERE
            new[event_id] = (shown, row_of(record))
        user, said = known or (0, {})
        self._ids[event_id] = (user, said_more(said, outcomes))
        self._ids.move_to_end(event_id)


def _place(record: dict[str, Any], line: Position) -> Place:
    """Where a record counts: in the topic that it was told to, else where its line stands."""
    return place_of(record["place"]) if "place" in record else line
