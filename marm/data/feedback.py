"""From an inbox or a topic to the stream: records are read, joined, made final, and appended with how far was read.

A process that dies goes on from the manifest alone: what it had read and not appended is read again, and nothing twice.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.data.aside import Aside
from marm.data.grow import Grower
from marm.data.joining import Early, Held, Joining
from marm.data.journal import ItemJournal
from marm.data.known import known_in_order
from marm.data.live import LiveLog, Row
from marm.data.order import ordered
from marm.data.place import Mark, Offsets, Place, Position, Spot
from marm.data.reading import Batch, InboxReader, Reader
from marm.data.record import Records
from marm.data.seen import LastSeen
from marm.data.stream import EventLog
from marm.data.trouble import near_match
from marm.errors import DiskError, FolderError

MOST_HELD = 200_000
"""Events in memory that wait; beyond it those that waited longest are final before their time is over."""


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of cycles: records hold none, and it would walk all that wait again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Feedback:
    """The inbox of a run folder, or what another reader reads, as a source of events."""

    def __init__(
        self,
        run: RunConfig,
        folder: Path,
        log: EventLog,
        grower: Grower,
        reader: Reader | None = None,
        lateness: float = 0,
    ) -> None:
        """``lateness``: seconds that events wait at least, for others of earlier times."""
        self.run, self._log, self._grower = run, log, grower
        growth = log.manifest.growth
        self._reader = reader or InboxReader(folder / "inbox", _of_inbox(growth.settled, folder))
        self.counts = dict(growth.counts)
        self._live, self._seen = LiveLog(run, folder / "events"), LastSeen(log)
        self._items = ItemJournal(folder, log)
        self._aside, self._in_order = Aside(folder, growth.sides), known_in_order(run, log)
        until = max(growth.until, log.manifest.last_time)
        config = run.follow
        self._wait = max(config.wait, lateness)
        self._joining = Joining(self._wait, until, config.ids, log.event_ids(config.ids))
        self._read, self._written = growth.settled, growth.read
        """How far was read, and how far of that a manifest says so."""
        self._replay_to, self._counted_to = growth.read, growth.frontier
        """What an earlier process read, and gave up by then, is counted and put aside already."""
        self._frontier = 0.0
        """Seconds: all that was sent before was read."""
        self._given_up = growth.frontier
        """Up to where outcomes whose event did not come were put aside; ``_told_anew``: some since the last manifest."""
        self._told_anew = False

    def __len__(self) -> int:
        """Events that wait for their outcomes."""
        return len(self._joining)

    def lag(self) -> int | None:
        """Messages that wait at the broker; None of an inbox."""
        return self._reader.lag()

    def close(self) -> None:
        """Give back what the reader holds."""
        self._reader.close()

    def poll(self, now: float) -> bool:
        """Read on and append what is final; whether anything came."""
        with _uncollected():
            return self._poll(now)

    def _poll(self, now: float) -> bool:
        came = full = False
        while not (full := len(self._joining) >= MOST_HELD):
            batch = self._reader.read(now)
            if batch is None:
                self._frontier = max(self._frontier, self._reader.frontier(now))
                break
            came = True
            self._take(batch, now)
            self._read = batch.end
            if not batch.more:
                self._frontier = max(self._frontier, self._reader.frontier(now))
                break
        self._append(now, full)
        return came or full

    def note(self) -> None:
        """Make durable how far was read, without an event."""
        if self._told_anew or not self._written.covers(self._read):
            self._write([])

    def _take(self, batch: Batch, now: float) -> None:
        told, places = batch.told, batch.places
        if batch.lost:
            self._count("lost", batch.lost)
        bad = dict(told.bad)
        late = self._events(told, places, now, bad)
        late |= self._outcomes(batch, bad, now)
        for number in sorted({*bad, *late}):
            if self._replay_to.holds(places[number]):
                continue
            if number in bad:
                self._count("rejected")
                self._aside.rejected(bad[number], _about(places[number], batch.text(number)))
            else:
                self._put_aside(late[number], places[number], batch.text(number))

    def _events(self, told: Records, places: Sequence[Place], now: float, bad: dict[int, str]) -> dict[int, str]:
        """Take events in; lines that cannot be read go into ``bad``, those to put aside come back, both with the reason."""
        time = self._times(told, now, bad)
        for line, reason in self._other(told.event_line, told.outcomes).items():
            bad.setdefault(line, reason)
        otherwise, lines = self.run.follow.otherwise, told.event_line
        values = [{**otherwise, **context, **said} for context, said in zip(told.context, told.outcomes, strict=True)]
        rows = map(Row._make, zip(told.event_id, told.user, told.item, told.at, values, strict=True))
        heard = [now if received is None else min(received, now) for received in told.received]
        where = [places[line] for line in lines]
        held = list(map(Held._make, zip(rows, values, time, heard, where, strict=True)))
        good = [at for at, line in enumerate(lines) if line not in bad]
        some = [held[at] for at in good] if len(good) < len(held) else held
        self._frontier = max([self._frontier, *(one.heard for one in some)])
        return {lines[good[at]]: why for at, why in self._joining.hold_all(some).items()}

    def _outcomes(self, batch: Batch, bad: dict[int, str], now: float) -> dict[int, str]:
        """Join outcomes that followed; as ``_events``."""
        told, places, early = batch.told, batch.places, self._reader.early()
        bad |= self._other(told.follow_line, told.follow_outcomes)
        late: dict[int, str] = {}
        heard = [now if received is None else min(received, now) for received in told.follow_received]
        follows = zip(told.follow_line, told.follow_id, told.follow_outcomes, heard, strict=True)
        for line, event_id, outcomes, when in follows:
            if line in bad:
                continue
            join = self._joining
            why = join.join_sent(event_id, outcomes, when) if early else join.join(event_id, outcomes, places[line])
            if why == "unknown" and early:
                join.expect(event_id, Early(outcomes, when, places[line], batch.text(line)))
            elif why:
                late[line] = why
        if early:
            self._frontier = max([self._frontier, *heard])
        return late

    def _times(self, told: Records, now: float, bad: dict[int, str]) -> list[int]:
        """Times of events in microseconds; what is none, or too far ahead, goes into ``bad``."""
        time, known = self._live.times(told.at)
        ahead = time > (now + self.run.follow.ahead) * 1e6
        for wrong, reason in ((~known, "is no time as the log writes times"), (known & ahead, "is in the future")):
            bad |= {told.event_line[at]: f"at = {told.at[at]!r} {reason}" for at in np.flatnonzero(wrong).tolist()}
        micros: list[int] = time.tolist()
        return micros

    def _other(self, numbers: list[int], outcomes: list[dict[str, Any]]) -> dict[int, str]:
        """Lines that give an outcome of which the log has no column, and what to say."""
        columns = set(self._live.columns)
        if columns.issuperset(set().union(*outcomes)):
            return {}
        others = zip(numbers, (next((n for n in one if n not in columns), None) for one in outcomes), strict=True)
        return {line: self._no_outcome(name) for line, name in others if name is not None}

    def _no_outcome(self, name: str) -> str:
        near = near_match(name, self._live.columns)
        return f"no outcome {name}" + (f"; did you mean {near}?" if near else "")

    def _put_aside(self, why: str, place: Place, text: str) -> None:
        self._count(why)
        self._aside.late(why, _about(place, text))

    def _give_up(self, frontier: float) -> None:
        """Put outcomes aside whose event did not come; those that an earlier process did so with are counted already."""
        for early in self._joining.given_up(frontier):
            self._told_anew = True
            if not (self._replay_to.holds(early.place) and early.heard + self._wait <= self._counted_to):
                self._put_aside("unknown", early.place, early.text)
        self._given_up = max(self._given_up, frontier)

    def _count(self, what: str, many: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + many

    def _append(self, now: float, full: bool) -> None:
        """Append what is final, once that is a whole micro-batch or has been so for long enough; if ``full``, make room."""
        frontier = min(self._frontier, now)
        self._give_up(frontier)
        final = self._joining.ready(frontier)
        if (
            full
            and len(final) <= MOST_HELD // 16
            and len(longest := self._joining.longest(MOST_HELD // 8)) > len(final)
        ):
            self._count("hurried", len(longest) - len(final))
            final = longest
        if not final:
            return
        config = self.run.follow
        oldest = min(event.heard for event in final)
        if full or len(final) >= self.run.train.micro_batch or frontier >= oldest + self._wait + config.gather:
            self._joining.release(final)
            self._write(final)

    def _write(self, final: list[Held]) -> None:
        rows = [event.row for event in final]

        def refuse(row: int, reason: str) -> None:
            self._count("rejected")
            self._aside.rejected(reason, {"event_id": rows[row].event_id})

        manifest = self._grower.manifest
        items = self._items.end()
        block, dropped = self._block(rows, items, refuse) if rows else (pl.DataFrame(), 0)
        self._count("events", block.height)
        settled = self._joining.settled(self._read)
        try:
            sides = self._aside.flush()
        except OSError as error:
            raise DiskError(self._grower.folder, error) from None
        growth = {"read": self._read, "settled": settled, "until": self._joining.until,
                  "counts": dict(self.counts), "items": items, "sides": sides, "frontier": self._given_up}  # fmt: skip
        blocks = [block] if block.height else []
        self._grower.append(blocks, growth, log_rows=manifest.log_rows + len(rows), dropped=manifest.dropped + dropped)
        self._written, self._told_anew = self._read, False
        self._log.refresh()

    def _block(self, rows: list[Row], items: int, refuse: Any) -> tuple[pl.DataFrame, int]:
        frame, dropped = self._live.convert(self._live.served(rows, refuse), self._grower.manifest.log_rows, refuse)
        if frame.height:
            frame = self._seen.fill(frame, self._items.at(items).logged)
        block = ordered(frame.sort("time", maintain_order=True)) if frame.height else frame
        return (self._in_order(block) if self._in_order and block.height else block), dropped


def _about(place: Place, text: str) -> dict[str, Any]:
    return {"record": text} | ({"place": list(place)} if isinstance(place, Spot) else {})


def _of_inbox(mark: Mark, folder: Path) -> Position:
    if isinstance(mark, Offsets):
        raise FolderError(
            f"{folder}: goes on with a topic ({next(iter(mark), 'none')}): name it in --log or follow.log"
        )
    return mark
