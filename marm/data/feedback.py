"""From the inbox to the stream: records are read, joined, made final, and appended with the place they were read up to.

A process that dies goes on from the manifest alone: what it had read and not appended is read again, and nothing twice.
"""

from pathlib import Path
from typing import Any

import polars as pl

from marm.config import RunConfig
from marm.data import inbox
from marm.data.aside import Aside
from marm.data.grow import Grower
from marm.data.inbox import Position
from marm.data.joining import Held, Joining
from marm.data.known import known_in_order
from marm.data.live import LiveLog, Row
from marm.data.order import ordered
from marm.data.record import EventRecord, OutcomesRecord, parse
from marm.data.seen import LastSeen
from marm.data.stream import EventLog
from marm.data.trouble import near_match
from marm.errors import DataError, DiskError

MOST_HELD = 200_000
"""Events in memory that wait; beyond it the inbox is not read on until some are final."""


class Feedback:
    """The inbox of a run folder as a source of events."""

    def __init__(self, run: RunConfig, folder: Path, log: EventLog, grower: Grower) -> None:
        self.run, self._inbox, self._log, self._grower = run, folder / "inbox", log, grower
        growth = log.manifest.growth
        self.counts = dict(growth.counts)
        self._live, self._seen = LiveLog(run, folder / "events"), LastSeen(log)
        self._aside, self._in_order = Aside(folder, growth.sides), known_in_order(run, log)
        until = max(growth.until, log.manifest.last_time)
        config = run.follow
        self._joining = Joining(config.wait, until, config.ids, log.event_ids(config.ids))
        self._read, self._frontier, self._written = growth.settled, 0.0, growth.read
        self._replay_to = growth.read

    def __len__(self) -> int:
        """Events that wait for their outcomes."""
        return len(self._joining)

    def poll(self, now: float) -> bool:
        """Read on in the inbox and append what is final; whether anything came."""
        came = False
        while len(self._joining) < MOST_HELD:
            lines, end = inbox.read(self._inbox, self._read)
            if not lines:
                self._frontier = now
                break
            came = True
            self._take(lines, end, now)
            self._read = end
        else:
            self._frontier = now
        self._append(now)
        return came

    def note(self) -> None:
        """Make durable how far the inbox was read, without an event."""
        if self._read > self._written:
            self._write([])

    def _take(self, lines: list[bytes], end: Position, now: float) -> None:
        place = Position(end.file, end.offset - sum(len(line) + 1 for line in lines))
        records: list[tuple[bytes, Position, EventRecord | OutcomesRecord]] = []
        for line in lines:
            try:
                records.append((line, place, parse(line)))
            except DataError as error:
                self._reject(str(error), line, place)
            place = Position(place.file, place.offset + len(line) + 1)
        times, good = self._live.times([r.at for _, _, r in records if isinstance(r, EventRecord)])
        when = iter(zip(times.tolist(), good.tolist(), strict=True))
        for line, place, record in records:
            if isinstance(record, EventRecord):
                time, known = next(when)
                why = self._event(record, time if known else None, line, place, now)
            else:
                why = self._outcomes(record, line, place)
            if why:
                self._put_aside(why, line, place)

    def _event(self, record: EventRecord, time: int | None, line: bytes, place: Position, now: float) -> str | None:
        if time is None:
            self._reject(f"at = {record.at!r} is no time as the log writes times", line, place)
            return None
        if time > (now + self.run.follow.ahead) * 1e6:
            self._reject(f"at = {record.at!r} is in the future", line, place)
            return None
        if not self._known(record.outcomes, line, place):
            return None
        values = {**self.run.follow.otherwise, **record.context, **record.outcomes}
        row = Row(record.event_id, record.user, record.item, record.at, values)
        heard = now if record.received is None else min(record.received, now)
        self._frontier = max(self._frontier, heard)
        return self._joining.hold(Held(row, values, time, heard, place))

    def _outcomes(self, record: OutcomesRecord, line: bytes, place: Position) -> str | None:
        if not self._known(record.outcomes, line, place):
            return None
        return self._joining.join(record.event_id, record.outcomes)

    def _known(self, outcomes: dict[str, Any], line: bytes, place: Position) -> bool:
        """Whether the log has such columns; rejects the record if not."""
        other = next((name for name in outcomes if name not in self._live.columns), None)
        if other is None:
            return True
        near = near_match(other, self._live.columns)
        self._reject(f"no outcome {other}" + (f"; did you mean {near}?" if near else ""), line, place)
        return False

    def _put_aside(self, why: str, line: bytes, place: Position) -> None:
        if place >= self._replay_to:
            self._count(why)
            self._aside.late(why, {"record": line.decode(errors="replace")})

    def _reject(self, reason: str, line: bytes, place: Position) -> None:
        if place >= self._replay_to:
            self._count("rejected")
            self._aside.rejected(reason, {"record": line.decode(errors="replace")})

    def _count(self, what: str, many: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + many

    def _append(self, now: float) -> None:
        """Append what is final, once that is a whole micro-batch or has been so for long enough."""
        frontier = min(self._frontier, now)
        final = self._joining.ready(frontier)
        if not final:
            return
        config = self.run.follow
        oldest = min(event.heard for event in final)
        if len(final) >= self.run.train.micro_batch or frontier >= oldest + config.wait + config.gather:
            self._joining.release(final)
            self._write(final)

    def _write(self, final: list[Held]) -> None:
        rows = [event.row for event in final]

        def refuse(row: int, reason: str) -> None:
            self._count("rejected")
            self._aside.rejected(reason, {"event_id": rows[row].event_id})

        manifest = self._grower.manifest
        block, dropped = self._block(rows, refuse) if rows else (pl.DataFrame(), 0)
        self._count("events", block.height)
        settled = self._joining.settled(self._read)
        try:
            sides = self._aside.flush()
        except OSError as error:
            raise DiskError(self._grower.folder, error) from None
        growth = {"read": self._read, "settled": settled, "until": self._joining.until,
                  "counts": dict(self.counts), "sides": sides}  # fmt: skip
        blocks = [block] if block.height else []
        self._grower.append(blocks, growth, log_rows=manifest.log_rows + len(rows), dropped=manifest.dropped + dropped)
        self._written = self._read
        self._log.refresh()

    def _block(self, rows: list[Row], refuse: Any) -> tuple[pl.DataFrame, int]:
        frame, dropped = self._live.convert(self._live.served(rows, refuse), self._grower.manifest.log_rows, refuse)
        block = ordered(self._seen.fill(frame).sort("time", maintain_order=True)) if frame.height else frame
        return (self._in_order(block) if self._in_order and block.height else block), dropped
