"""A topic as a source of events: its partitions read side by side and merged by the time at which messages were sent.

No consumer group: a follower reads every partition itself, from offsets that the run folder holds. So nothing is rebalanced,
and nothing that the broker remembers counts.
"""

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from marm.config import RunConfig, Topic
from marm.data import broker
from marm.data.live import LiveLog
from marm.data.payload import Columns, Messages, Rows, records_of, rows_of, text_of_message
from marm.data.place import Offsets, Spot
from marm.data.reading import Batch
from marm.errors import BrokerError, FolderError

AT_ONCE = 10_000
"""Messages of a batch."""
_BUFFERED = 200_000
"""Messages of all lanes that wait to be merged; a lane that runs ahead is paused."""
_PATIENCE = 1.0
"""Seconds to wait for messages of a lane whose end was not seen yet; at first as long as for any answer."""
_GLANCE, _GATHER = 0.02, 0.2
"""Seconds of one fetch, and of fetching on while there are some."""
_LOOK_EVERY = 30.0
"""Seconds between two looks for new partitions."""


@dataclass
class Lane:
    """A partition: what was fetched of it and not taken yet."""

    name: str
    next: int
    """The next message to take ..."""
    fetched: int
    """... and to fetch."""
    sent: list[float] = field(default_factory=list)
    """Seconds, never falling, so that a clock that was set back holds nobody up."""
    offset: list[int] = field(default_factory=list)
    value: list[bytes | None] = field(default_factory=list)
    newest: float = -np.inf
    at_end: bool = False
    paused: bool = False

    def add(self, messages: Sequence[Any], now: float) -> None:
        """Messages in their order."""
        sent = np.array([message.timestamp()[1] for message in messages]) / 1000
        rising = np.maximum.accumulate(np.concatenate([[self.newest], np.clip(sent, 0, now)]))[1:]
        self.sent += rising.tolist()
        self.offset += [message.offset() for message in messages]
        self.value += [message.value() for message in messages]
        self.newest, self.at_end, self.fetched = float(rising[-1]), False, self.offset[-1] + 1


class TopicReader:
    """All lanes of a topic, and of the one with outcomes. Errors: ``BrokerError``, ``SettingError``."""

    def __init__(self, run: RunConfig, topic: Topic, live: LiveLog, since: Offsets | None, from_time: float) -> None:
        """``since``: None to begin with messages sent at ``from_time``, in seconds, or later."""
        self._run, self._topic = run, topic
        self._columns = Columns.of(run, live.values, live.outcomes)
        self._names = list(dict.fromkeys([topic.name, *([run.kafka.outcomes] if run.kafka.outcomes else [])]))
        self._skip = from_time if since is None else -np.inf
        self._lost = self._skipped = 0
        self._next_look, self._patience = 0.0, broker.ANSWER_S
        self._lanes: dict[str, Lane] = {}
        self._client = broker.consumer(topic)
        try:
            self._check_names(since or Offsets())
            self._assign(self._found(broker.ANSWER_S), since or Offsets())
        except BaseException:
            self.close()
            raise

    @property
    def offsets(self) -> Offsets:
        """The next message of each lane."""
        return Offsets({lane.name: lane.next for lane in self._lanes.values()})

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()

    def early(self) -> bool:
        """Outcomes may stand in another lane than their event."""
        return True

    def lag(self) -> int:
        """Messages that the broker has and that were not taken, as of its last answers."""
        high = {
            name: self._client.get_watermark_offsets(broker.partition(name), cached=True)[1] for name in self._lanes
        }
        return sum(max(0, high[name] - lane.next) for name, lane in self._lanes.items() if high[name] is not None)

    def frontier(self, now: float) -> float:
        """All that was sent before was fetched: by lanes that are at their end all there is, by others up to their newest."""
        return min((lane.newest for lane in self._lanes.values() if not lane.at_end), default=now)

    def read(self, now: float) -> Batch | None:
        """The next messages in the order in which they were sent; of lanes that wait none, until all before it is there."""
        self._look()
        self._fill(now)
        ready = self._ready(self.frontier(now))
        if not (ready.value or self._skipped or self._lost):
            return None
        batch, self._lost = self._batch(ready), 0
        return batch

    def _fill(self, now: float) -> None:
        """Fetch until a batch is there, or every lane is at its end, or nothing came for a while."""
        began = heard = time.monotonic()
        while (ready := self._count(now)) < AT_ONCE:
            messages = self._client.consume(AT_ONCE, _GLANCE)
            self._sort(messages, now)
            self._pause()
            passed = time.monotonic()
            heard = passed if messages else heard
            at_end = all(lane.at_end for lane in self._lanes.values())
            if (ready and passed - began > _GATHER) or (at_end and not messages) or passed - heard > self._patience:
                break
        self._patience = _PATIENCE

    def _count(self, now: float) -> int:
        """Messages that can be taken."""
        frontier = self.frontier(now)
        return sum(bisect_right(lane.sent, frontier) for lane in self._lanes.values())

    def _sort(self, messages: Sequence[Any], now: float) -> None:
        """Put what was fetched to its lanes."""
        by_lane: dict[tuple[str, int], list[Any]] = {}
        for message in messages:
            by_lane.setdefault((message.topic(), message.partition()), []).append(message)
        for (name, number), some in by_lane.items():
            lane = self._lanes[f"{name}/{number}"]
            good = [message for message in some if message.error() is None]
            if good:
                lane.add(good, now)
            for message in some:
                if message.error() is not None:
                    self._trouble(lane, message)

    def _trouble(self, lane: Lane, message: Any) -> None:
        match message.error().name():
            case "_PARTITION_EOF":
                lane.at_end = message.offset() >= lane.fetched
            case "_AUTO_OFFSET_RESET":
                lane.fetched = self._checked(lane.name, lane.fetched)
                self._client.incremental_unassign([broker.partition(lane.name)])
                self._client.incremental_assign([broker.partition(lane.name, lane.fetched)])
            case "TOPIC_AUTHORIZATION_FAILED" | "UNKNOWN_TOPIC_OR_PART":
                raise BrokerError(f"{self._topic.url}: {lane.name}: {message.error().str()}: mend it at the broker")
            # Anything else passes: the client goes on trying.

    def _pause(self) -> None:
        """Stop lanes that run ahead, and let them go on when they are taken from: by offset, so that nothing is passed over."""
        most = max(_BUFFERED // len(self._lanes), 1)
        for lane in self._lanes.values():
            ahead = len(lane.value) > (most // 2 if lane.paused else most)
            if ahead and not lane.paused:
                self._client.incremental_unassign([broker.partition(lane.name)])
            elif lane.paused and not ahead:
                self._client.incremental_assign([broker.partition(lane.name, lane.fetched)])
            lane.paused = ahead

    def _ready(self, frontier: float) -> Messages:
        """The first messages of all lanes up to a time, taken out."""
        some = [(lane, bisect_right(lane.sent, frontier)) for lane in self._lanes.values()]
        sent = np.concatenate([np.array(lane.sent[:count], np.float64) for lane, count in some])
        order = np.argsort(sent, kind="stable")[:AT_ONCE]
        owner = np.repeat(np.arange(len(some)), [count for _, count in some])
        taken = np.bincount(owner[order], minlength=len(some)).tolist()
        names = [lane.name for lane, _ in some]
        offset = list(chain.from_iterable(lane.offset[:count] for lane, count in some))
        value = list(chain.from_iterable(lane.value[:count] for lane, count in some))
        for (lane, _), count in zip(some, taken, strict=True):
            if count:
                lane.next = lane.offset[count - 1] + 1
                del lane.sent[:count], lane.offset[:count], lane.value[:count]
        kept = order[sent[order] >= self._skip]
        self._skipped = len(order) - len(kept)
        lanes = [names[at] for at in owner[kept].tolist()]
        return Messages(lanes, [offset[at] for at in kept], sent[kept].tolist(), [value[at] for at in kept])

    def _batch(self, messages: Messages) -> Batch:
        rows, columns = rows_of(messages.value), self._columns
        told = records_of(rows, messages, columns)
        numbers = [*rows.message, *(number for number, _ in rows.bad)]
        places = [Spot(messages.lane[number], messages.offset[number]) for number in numbers]
        more = len(messages.value) + self._skipped >= AT_ONCE
        return Batch(told, places, partial(_text, rows, messages, columns), self.offsets, more, self._lost)

    def _look(self) -> None:
        """See whether there are new partitions, now and then; they are read from their beginning."""
        if time.monotonic() < self._next_look:
            return
        try:
            found = self._found(_PATIENCE)
        except BrokerError:
            # What is there goes on; the next look tries again.
            self._next_look = time.monotonic() + _LOOK_EVERY
            return
        self._assign([name for name in found if name not in self._lanes], Offsets())

    def _found(self, wait: float) -> list[str]:
        return broker.lanes(self._client, self._topic, self._names, wait)

    def _assign(self, names: list[str], since: Offsets) -> None:
        gone = [name for name in since if name not in names]
        if gone:
            raise BrokerError(
                f"{self._topic.url}: {gone[0]} was read and is gone: the topic was made anew; train into a new folder"
            )
        for name in names:
            begin = since.get(name)
            at = broker.bounds(self._client, self._topic, name)[0] if begin is None else self._checked(name, begin)
            self._lanes[name] = Lane(name, at, at)
        if names:
            self._client.incremental_assign([broker.partition(name, self._lanes[name].next) for name in names])
        self._next_look = time.monotonic() + _LOOK_EVERY

    def _check_names(self, since: Offsets) -> None:
        other = {lane.rpartition("/")[0] for lane in since} - set(self._names)
        if other:
            raise FolderError(
                f"{self._topic.url}: the run goes on with topic {min(other)}: name it in --log, follow.log or kafka.outcomes"
            )

    def _checked(self, lane: str, begin: int) -> int:
        """Where to read on, if the broker still has it; else behind the gap, if that is allowed."""
        low, high = broker.bounds(self._client, self._topic, lane)
        if begin > high:
            raise BrokerError(
                f"{self._topic.url}: {lane} ends at {high}, read up to {begin}: it was made anew; train into a new folder"
            )
        if begin < low and self._run.kafka.lost == "refuse":
            raise BrokerError(
                f"{self._topic.url}: {lane} begins at {low}, {low - begin} messages from {begin} on are gone: "
                'lengthen its retention, or go on without them by --set kafka.lost="skip"'
            )
        self._lost += max(0, low - begin)
        return max(begin, low)


def _text(rows: Rows, messages: Messages, columns: Columns, number: int) -> str:
    good = number < len(rows.row)
    message = rows.message[number] if good else rows.bad[number - len(rows.row)][0]
    within = rows.within[number] if good else 0
    return text_of_message(messages.value[message], messages.lane[message], columns, within)
