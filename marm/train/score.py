"""Scoring with a trained run: any items for a user at a time, nothing learned and nothing written."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch

from marm.config import RunConfig
from marm.data.columns import convert
from marm.data.events import Column, Tags
from marm.data.ids import hash_text
from marm.data.source import scan
from marm.data.stream import EventLog
from marm.data.times import Clock, clock_of, to_micros
from marm.data.trouble import Chunk, Places
from marm.engine.batch import Batch
from marm.errors import DataError, DiskError
from marm.model.features import take
from marm.store.slots import SlotMap
from marm.train.run import open_run, run_of
from marm.types import F32, I64, U64

_AT_ONCE = 8192
Time = int | float | datetime | str


class Scorer:
    """The newest cut of a run folder, opened to read."""

    def __init__(self, folder: Path) -> None:
        """Errors: ``FolderError`` where there is no run, or no cut yet."""
        self.run: RunConfig = run_of(folder)
        self.log = EventLog(folder / "events")
        self._scratch = TemporaryDirectory(prefix="marm-")
        self.parts = open_run(folder, Path(self._scratch.name), self.log, self.run, copy=False)
        self.engine = self.parts.engine
        self._items: SlotMap | None = None
        self._last_event: I64 = np.zeros(0, np.int64)
        self._step = 0

    def score(
        self,
        user: Any,
        items: Sequence[Any],
        at: Time | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, F32]:
        """Score items for a user at a time (as the log writes times; None: after its last event): (n,) for each task."""
        frame = pl.DataFrame({self.run.data.user: [user] * len(items), self.run.data.item: list(items)}, strict=False)
        given = {self.run.data.time: at} if at is not None else {}
        columns = {**given, **(context or {})}
        frame = frame.with_columns(**{k: pl.Series([v] * len(frame), strict=False) for k, v in columns.items()})
        scores = self.score_frame(frame, "the request")
        return {name: scores[:, t] for t, name in enumerate(self.run.tasks)}

    def score_frame(self, frame: pl.DataFrame, name: str) -> F32:
        """Score a frame of pairs, with columns as in the log: (n, T). Errors: ``DataError`` naming ``name``, row and column."""
        chunk = _chunk(frame, name)
        user, item = (_ids(frame, column, name) for column in (self.run.data.user, self.run.data.item))
        time = self._times(chunk)
        context = _features(chunk, self.run, "context", self.log)
        user_columns = _features(chunk, self.run, "user", self.log)
        logged = self._item_columns(item, chunk)
        out = [np.zeros((0, len(self.run.tasks)), np.float32)]
        for low in range(0, len(frame), _AT_ONCE):
            part = np.arange(low, min(low + _AT_ONCE, len(frame)))
            columns = _pick(context, part), _pick(user_columns, part)
            out.append(self._score(user[part], item[part], logged[part], time[part], *columns))
        return np.concatenate(out)

    def _score(
        self, user: U64, item: U64, logged: U64, time: I64, context: dict[str, Column], user_columns: dict[str, Column]
    ) -> F32:
        """A segment is a user at a time: what it may see begins before that time, whenever that was."""
        asked = SlotMap(len(user))
        segment = asked.insert(user * np.uint64(0x9E3779B97F4A7C15) + time.view(np.uint64))
        first = np.empty(len(asked), np.int64)
        first[segment[::-1]] = np.arange(len(user))[::-1]
        batch = Batch(
            users=user[first],
            user_columns=_pick(user_columns, first),
            since=time[first],
            segment=segment,
            item=item,
            item_columns=logged,
            time=time,
            context=context,
            live=np.zeros(len(user), bool),
            known=time,
            outcome=np.zeros(len(user), np.int16),
        )
        self._step += 1
        with torch.no_grad():
            self.engine.memory.admit(np.unique(batch.users), self._step)
            logit_QT = self.engine.attend(batch).logit_QT
            scores: F32 = self.engine.model.predict(logit_QT.float()).cpu().numpy()
        return scores

    def _times(self, chunk: Chunk) -> I64:
        column = self.run.data.time
        if column not in chunk.frame.columns:
            return np.full(len(chunk.frame), self.log.manifest.last_time + 1)
        micros, good, troubles = to_micros(chunk, self._clock(chunk.frame[column]))
        if not good.all():
            raise DataError(str(troubles[0]))
        return micros

    def _clock(self, first: pl.Series) -> Clock:
        units = {"seconds": "s", "milliseconds": "ms", "microseconds": "us"}
        unit = units.get(self.log.manifest.time_unit)
        return clock_of(first, unit or "auto")

    def _item_columns(self, item: U64, chunk: Chunk) -> U64:
        """Logged categories of items, as given or as their last exposure had them; an item never seen has none."""
        names = self.log.manifest.columns["item"]
        out = np.zeros((len(item), len(names)), np.uint64)
        if names:
            last = self._last_seen().find(item)
            known = last >= 0
            out[known] = self.log.item_columns(self._last_event[last[known]])
        for c, name in enumerate(names):
            if name in chunk.frame.columns:
                out[:, c] = convert(chunk, name, "category", 1).to_numpy()
        return out

    def _last_seen(self) -> SlotMap:
        if self._items is None:
            self._items = SlotMap()
            for low in range(0, len(self.log), 2**20):
                events = self.log.read(low, min(low + 2**20, len(self.log)))
                at = self._items.insert(events.item)
                grown = np.zeros(self._items.top, np.int64)
                grown[: len(self._last_event)] = self._last_event
                grown[at] = low + np.arange(len(events))
                self._last_event = grown
        return self._items

    def close(self) -> None:
        """Give back the store and the scratch folder."""
        self.parts.store.close()
        self._scratch.cleanup()


def predict_pairs(scorer: Scorer, pairs: Path, out: Path) -> int:
    """Score a file of pairs into a Parquet file, beside its columns; the number of pairs. Errors: `DataError`, `DiskError`."""
    try:
        frame = scan(pairs).collect()
    except FileNotFoundError:
        raise DataError(f"{pairs}: no such file; name a Parquet, CSV or NDJSON file of pairs") from None
    scores = scorer.score_frame(frame, str(pairs))
    columns = {f"score_{name}": pl.Series(scores[:, t]) for t, name in enumerate(scorer.run.tasks)}
    beside = out.with_name(f".{out.name}.tmp")
    try:
        frame.with_columns(**columns).write_parquet(beside)
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DiskError(out, error) from None
    return len(frame)


def _chunk(frame: pl.DataFrame, name: str) -> Chunk:
    return Chunk(frame, np.arange(len(frame)), Places([name], [0]))


def _ids(frame: pl.DataFrame, column: str, name: str) -> U64:
    if column not in frame.columns:
        raise DataError(f"{name}: no column {column}; it has {', '.join(frame.columns)}")
    hashes = hash_text(frame[column])
    if not hashes.all():
        row = int(np.flatnonzero(hashes == 0)[0])
        raise DataError(f"{name}: row {row + 1}, column {column}: null; give every pair a {column}")
    return hashes


def _features(chunk: Chunk, run: RunConfig, scope: str, log: EventLog) -> dict[str, Column]:
    """Logged features of a scope, from columns of the same names; one that is not there is missing on every row."""
    out: dict[str, Column] = {}
    for name, kind in log.manifest.columns[scope].items():
        width = log.manifest.widths.get(f"{scope}.{name}", 1)
        if name in chunk.frame.columns:
            out[name] = _as_column(convert(chunk, name, kind, width))
        else:
            out[name] = _absent(kind, len(chunk.frame), width)
    return out


def _as_column(series: pl.Series) -> Column:
    if isinstance(series.dtype, pl.List):
        counts = series.list.len().to_numpy().astype(np.int64)
        values = series.explode(empty_as_null=False, keep_nulls=False).to_numpy()
        return Tags(values, np.concatenate([[0], np.cumsum(counts)]))
    column: Column = series.to_numpy()
    return column


def _absent(kind: str, rows: int, width: int) -> Column:
    match kind:
        case "tags":
            return Tags(np.zeros(0, np.uint64), np.zeros(rows + 1, np.int64))
        case "number":
            return np.full(rows, np.nan, np.float32)
        case "vector":
            return np.zeros((rows, width), np.float32)
    return np.zeros(rows, np.uint64)


def _pick(columns: dict[str, Column], at: I64) -> dict[str, Column]:
    return {name: take(column, at) for name, column in columns.items()}
