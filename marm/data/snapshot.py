"""A topic as a log to train on: what it holds at one moment, outcomes joined to their events, as a file in the log's columns.

topic.json      which messages: written before the first is read, so that a training that is begun again reads the same
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig, Topic, topic_of
from marm.data import broker
from marm.data.aside import Aside
from marm.data.lines import MESSAGE, as_numbers, frame_of
from marm.data.parts import Growth, Manifest
from marm.data.payload import Columns, text_of_message
from marm.data.place import Offsets
from marm.data.plan import outcome_columns
from marm.data.source import wider
from marm.errors import BrokerError, DataError
from marm.files import write_text
from marm.types import F64, I64

PIN = "topic.json"
_CHUNK = 2**16
"""Messages that become one file. Always the same ones of a partition: what is refused may hang on those beside it."""
_LANE, _OFFSET, _SENT = "__lane", "__offset", "__sent"


class Snapshot:
    """Messages up to the moment of the first reading; events younger than ``follow.wait`` are left to ``marm follow``.

    Errors: ``BrokerError``, ``SettingError``, ``DataError`` where no event is old enough.
    """

    def __init__(self, run: RunConfig, out: Path, folder: Path) -> None:
        """``out``: the run folder; ``folder``: where the file is put, and what it is made of."""
        self._run, self._folder = run, folder
        self._topic: Topic = topic_of("data.log", str(run.data.log))
        self._aside, self._rejected = Aside(out, {}), 0
        self._columns = Columns.of(run, [], self._outcomes())
        self._wait = max(run.follow.wait, run.kafka.lateness)
        folder.mkdir(parents=True)
        client = broker.consumer(self._topic)
        try:
            pin = self._pinned(client, out)
            self._until: float = pin["until"]
            self._settled = Offsets(pin["end"])
            for number, lane in enumerate(sorted(pin["end"])):
                self._spool(client, number, lane, pin["begin"][lane], pin["end"][lane])
        finally:
            client.close()
        self.run = self._joined()
        """The same run over the file."""

    def refused(self, rows: dict[int, str]) -> None:
        """Put rows of the file aside that cannot be learned from. Errors: ``DataError`` if these are most of them."""
        if not rows:
            return
        if 2 * len(rows) > self._rows:
            raise DataError(
                f"{self._topic.url}: {len(rows)} of {self._rows} events cannot be read: {next(iter(rows.values()))}"
            )
        numbers = pl.Series(sorted(rows), dtype=pl.UInt32)
        found = self._events.select(_LANE, _OFFSET).with_row_index("row").filter(pl.col("row").is_in(numbers.implode()))
        for row, lane, offset in found.collect().iter_rows():
            self._reject(lane, offset, rows[row], None)

    def noted(self, manifest: Manifest) -> Manifest:
        """The manifest with where to read on, and with what was put aside, which is durable from now on."""
        counts = {"rejected": self._rejected, "duplicate": self._duplicates}
        growth = Growth(
            read=self._settled,
            settled=self._settled,
            begun=self._settled,
            counts={name: count for name, count in counts.items() if count},
            sides=self._aside.flush(),
        )
        return replace(manifest, growth=growth, files=[(self._topic.name, 0)], taken=[])

    def _pinned(self, client: Any, out: Path) -> dict[str, Any]:
        path = out / PIN
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
        names = [self._topic.name, *([self._run.kafka.outcomes] if self._run.kafka.outcomes else [])]
        lanes = broker.lanes(client, self._topic, list(dict.fromkeys(names)))
        bounds = {lane: broker.bounds(client, self._topic, lane) for lane in lanes}
        pin = {
            "begin": {lane: low for lane, (low, _) in bounds.items()},
            "end": {lane: high for lane, (_, high) in bounds.items()},
            "until": time.time() - self._wait,
        }
        write_text(path, json.dumps(pin))
        return pin

    def _spool(self, client: Any, number: int, lane: str, begin: int, end: int) -> None:
        for chunk, messages in enumerate(_chunks(self._fetched(client, lane, begin, end))):
            self._write(f"{number:05d}-{chunk:05d}.parquet", lane, messages)

    def _fetched(self, client: Any, lane: str, at: int, end: int) -> Iterator[list[Any]]:
        """Messages of a lane, as they come."""
        client.assign([broker.partition(lane, at)])
        heard = time.monotonic()
        while at < end:
            messages = client.consume(_CHUNK, 0.1)
            good = [message for message in messages if message.error() is None]
            names = {message.error().name() for message in messages if message.error() is not None}
            ends = [m.offset() for m in messages if m.error() is not None and m.error().name() == "_PARTITION_EOF"]
            if "_AUTO_OFFSET_RESET" in names:
                raise BrokerError(
                    f"{self._topic.url}: {lane} no longer has {at}: lengthen its retention, and train anew"
                )
            if good:
                at, heard = good[-1].offset() + 1, time.monotonic()
                yield [message for message in good if message.offset() < end]
            if ends:
                # What an open transaction holds back is left to whoever follows.
                self._settled[lane] = min(self._settled[lane], max(at, ends[-1]))
                return
            if time.monotonic() - heard > broker.ANSWER_S:
                raise BrokerError(
                    f"{self._topic.url}: nothing more of {lane} after {at}: see that the broker runs, and start again"
                )

    def _write(self, name: str, lane: str, messages: list[Any]) -> None:
        """Events and outcomes of a chunk into a file each."""
        value = [message.value() for message in messages]
        offset = np.array([message.offset() for message in messages])
        sent = np.array([message.timestamp()[1] for message in messages]) / 1000
        young = np.flatnonzero(sent >= self._until)
        if len(young):
            self._settled[lane] = min(self._settled[lane], int(offset[young[0]]))
        bad: dict[int, str] = {}
        frame = self._placed(frame_of(value, bad.setdefault), lane, offset, sent)
        frame = as_numbers(frame, self._numbers(), bad.setdefault)
        for at, reason in sorted(bad.items()):
            if offset[at] < self._settled[lane]:
                self._reject(lane, int(offset[at]), reason, value[at])
        self._put(name, frame.drop(MESSAGE), lane)

    def _put(self, name: str, frame: pl.DataFrame, lane: str) -> None:
        kafka = self._run.kafka
        own = pl.lit(lane.rpartition("/")[0] == kafka.outcomes)
        kind = pl.col(kafka.kind).cast(pl.String) if kafka.kind in frame.columns else pl.lit(None, pl.String)
        follows = frame.select(pl.when(kind.is_null()).then(own).otherwise(kind == "outcomes").alias("f"))["f"]
        outcomes = frame.filter(follows)
        if outcomes.height:
            given = [column for column in self._outcomes() if column in outcomes.columns]
            outcomes.select(kafka.event_id, _SENT, *given).write_parquet(self._folder / f"outcomes-{name}")
        events = frame.filter(~follows & (frame[_OFFSET] < self._settled[lane]))
        if events.height:
            events.write_parquet(self._folder / f"events-{name}")

    def _placed(self, frame: pl.DataFrame, lane: str, offset: I64, sent: F64) -> pl.DataFrame:
        """With its place, and an id for each row: as told, else its place, and that in its message if it holds several."""
        which, name = frame[MESSAGE].to_numpy(), self._run.kafka.event_id
        within = pl.lit(pl.Series(np.arange(len(which)) - np.searchsorted(which, which)))
        place = pl.format("{}:{}", pl.lit(lane), pl.lit(pl.Series(offset[which])))
        place = pl.when(within > 0).then(pl.format("{}:{}", place, within)).otherwise(place)
        told = pl.col(name).cast(pl.String) if name in frame.columns else pl.lit(None, pl.String)
        return frame.with_columns(
            pl.lit(lane).alias(_LANE),
            pl.Series(_OFFSET, offset[which]),
            pl.Series(_SENT, sent[which]),
            pl.coalesce(told, place).alias(name),
        )

    def _joined(self) -> RunConfig:
        """Events with the outcomes that followed in time, in the order of partitions and offsets."""
        kafka, path = self._run.kafka, self._folder / f"{self._topic.name}.parquet"
        events = _aligned(sorted(self._folder.glob("events-*.parquet")))
        if events is None:
            raise DataError(
                f"{self._topic.url}: no event is {self._wait:g} s old (follow.wait, kafka.lateness): wait, or set them lower"
            )
        total = events.select(pl.len()).collect().item()
        self._events = events.unique(subset=kafka.event_id, keep="first", maintain_order=True)
        joined = self._events
        follows = _aligned(sorted(self._folder.glob("outcomes-*.parquet")))
        if follows is not None:
            joined = self._with_outcomes(joined, follows)
        schema = joined.collect_schema()
        otherwise = [_filled(name, value, schema) for name, value in self._run.follow.otherwise.items()]
        joined.with_columns(otherwise).drop(_LANE, _OFFSET, _SENT).sink_parquet(path)
        self._rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        self._duplicates = total - self._rows
        return self._run.model_copy(update={"data": self._run.data.model_copy(update={"log": str(path.resolve())})})

    def _with_outcomes(self, events: pl.LazyFrame, follows: pl.LazyFrame) -> pl.LazyFrame:
        name, here, there = self._run.kafka.event_id, events.collect_schema(), follows.collect_schema()
        given = [column for column in there if column not in (name, _SENT)]
        in_time = pl.col(_SENT) <= pl.col("sent_of_event") + self._wait
        last = (
            follows.join(events.select(name, pl.col(_SENT).alias("sent_of_event")), on=name, how="inner")
            .filter(in_time)
            .sort(_SENT, maintain_order=True)
            .group_by(name)
            .agg(pl.col(column).drop_nulls().last().alias(f"__{column}") for column in given)
        )
        joined = events.join(last, on=name, how="left", maintain_order="left")
        merged = []
        for column in given:
            dtype = wider(here[column], there[column], column) if column in here else there[column]
            own = [pl.col(column).cast(dtype)] if column in here else []
            merged.append(pl.coalesce(pl.col(f"__{column}").cast(dtype), *own).alias(column))
        return joined.with_columns(merged).drop(f"__{column}" for column in given)

    def _outcomes(self) -> set[str]:
        return {column for _, column in outcome_columns(self._run)}

    def _numbers(self) -> list[str]:
        """Columns that hold numbers, or words for all rows."""
        features = self._run.features
        groups = (features.item, features.user, features.context)
        numbers = [name for group in groups for name, one in group.items() if one.kind == "number"]
        return [self._run.data.time, *sorted(self._outcomes()), *numbers]

    def _reject(self, lane: str, offset: int, reason: str, value: bytes | None) -> None:
        self._rejected += 1
        told = {} if value is None else {"record": text_of_message(value, lane, self._columns)}
        self._aside.rejected(reason, {**told, "place": [lane, offset]})


def _chunks(some: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """The same messages, as many as make a file at a time."""
    held: list[Any] = []
    for messages in some:
        held += messages
        while len(held) >= _CHUNK:
            yield held[:_CHUNK]
            held = held[_CHUNK:]
    if held:
        yield held


def _aligned(files: list[Path]) -> pl.LazyFrame | None:
    """Files as one frame with all columns that any of them has, each in a type that holds all."""
    if not files:
        return None
    schema: dict[str, pl.DataType] = {}
    found = [pl.read_parquet_schema(file) for file in files]
    for one in found:
        schema |= {name: wider(schema.get(name, dtype), dtype, name) for name, dtype in one.items()}
    frames = []
    for file, one in zip(files, found, strict=True):
        columns = [
            (pl.col(name) if name in one else pl.lit(None)).cast(dtype).alias(name) for name, dtype in schema.items()
        ]
        frames.append(pl.scan_parquet(file).select(columns))
    return pl.concat(frames, how="vertical")


def _filled(name: str, value: Any, schema: pl.Schema) -> pl.Expr:
    """An outcome of which nothing was heard, as the run says."""
    return (pl.col(name).fill_null(pl.lit(value)) if name in schema else pl.lit(value)).alias(name)
