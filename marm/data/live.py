"""Rows that come after a log was prepared, served or in files: in the log's own columns, then by the code that prepared it."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marm.config import RunConfig
from marm.data.ids import as_text
from marm.data.parts import COLUMNS, Manifest
from marm.data.plan import Feature, Group, Reading, outcome_columns, stop
from marm.data.rows import EVENT_ID, full
from marm.data.salvage import salvage
from marm.data.source import HISTORY, missing
from marm.data.times import clock_named, iso_micros, to_micros
from marm.data.trouble import Chunk, Places, no_column, show
from marm.errors import DataError, FolderError, first_line
from marm.types import I64, Bool

Refuse = Callable[[int, str], None]
"""Called with the number of a row that cannot be read, and the reason."""
ROW = "__row"
_PLACE = re.compile(r"^told row \d+: ")
_GROUPS: tuple[Group, ...] = ("item", "user", "context")


class Row(NamedTuple):
    """An event as it was served: ids, time and columns as in the log."""

    event_id: str
    user: Any
    item: Any
    at: Any
    values: Mapping[str, Any]
    """Of the log's other columns, by name; one that is not there is null."""


class LiveLog:
    """The shape of a prepared log, for rows that come after it. Errors: ``FolderError`` where ``folder`` holds none."""

    def __init__(self, run: RunConfig, folder: Path) -> None:
        manifest, data = Manifest.read(folder), run.data
        self._types = _types_of(folder)
        features = [Feature(group, name, manifest.how(group, name))
                    for group in _GROUPS for name in manifest.columns[group]]  # fmt: skip
        self._reading = Reading(run, clock_named(data.time, manifest.time_unit), features, set())
        self._where = None if data.where is None else pl.sql_expr(data.where).fill_null(False)
        self._history = pl.lit(True) if data.history is None else pl.sql_expr(data.history).fill_null(False)
        self.columns = list(self._types)
        """All columns of the log."""
        self.outcomes = {column for _, column in outcome_columns(run)}
        """Of these, what becomes known after the exposure and the run reads."""
        asked = [name for expr in (self._where, self._history) if expr is not None for name in expr.meta.root_names()]
        named = {*self.outcomes, *(feature.name for feature in features), *asked} - {
            data.user,
            data.item,
            data.time,
        }
        self.values = sorted(named)
        """Columns that a row may give, beside user, item and time."""

    def times(self, at: Sequence[Any]) -> tuple[I64, Bool]:
        """Microseconds of times as the log writes them, to its own resolution, and which of them could be read."""
        series, lost = self._time(at)
        micros, good, _ = to_micros(_chunk(pl.DataFrame([series])), self._reading.clock)
        return micros, good & ~lost

    def served(self, rows: Sequence[Row], refuse: Refuse) -> pl.DataFrame:
        """Served rows in the log's columns, with their numbers (``ROW``) and event ids."""
        data = self._reading.run.data
        columns = {
            data.user: self._ids(data.user, [row.user for row in rows]),
            data.item: self._ids(data.item, [row.item for row in rows]),
            data.time: self._time([row.at for row in rows]),
        }
        for name in self.values:
            columns[name] = _column(name, [row.values.get(name) for row in rows], self._types[name])
        ids = pl.Series(EVENT_ID, [row.event_id for row in rows], dtype=pl.String)
        frame = pl.DataFrame([series.alias(name) for name, (series, _) in columns.items()] + [ids]).with_row_index(ROW)
        bad = np.zeros(len(rows), bool)
        for name, (_, lost) in columns.items():
            given = {data.user: "user", data.item: "item", data.time: "at"}.get(name)
            for row in np.flatnonzero(lost & ~bad).tolist():
                value = show(getattr(rows[row], given) if given else rows[row].values[name])
                refuse(row, f"{name} = {value} is no {self._types[name]}, as which the log has it")
            bad |= lost
        return frame.filter(pl.Series(~bad))

    def filed(self, frame: pl.DataFrame, name: str) -> pl.DataFrame:
        """Rows of a file in the log's columns, with their numbers. Errors: ``DataError`` for a column that is not there."""
        data = self._reading.run.data
        wanted = [data.user, data.item, data.time, *self.values]
        for column in wanted:
            if column not in frame.columns:
                raise no_column("data.log", column, frame.columns, name)
        try:
            frame = frame.select(pl.col(column).cast(self._types[column]) for column in wanted)
        except PolarsError as error:
            raise DataError(
                f"{name}: other types than the log's ({first_line(error)}): write it like the log"
            ) from None
        frame = frame.with_columns(missing(self._types, (data.user, data.item, data.time)))
        return frame.with_row_index(ROW).with_columns(pl.lit(None, pl.String).alias(EVENT_ID))

    def convert(self, frame: pl.DataFrame, first: int, refuse: Refuse) -> tuple[pl.DataFrame, int]:
        """Rows in the log's columns as rows of the stream, numbered from ``first``; and how many ``data.where`` dropped."""
        made = salvage(
            frame.height,
            lambda begin, end: self._convert(frame[begin:end], first),
            lambda at, reason: refuse(int(frame[ROW][at]), _PLACE.sub("", reason)),
        )
        if not made:
            return self._convert(frame[:0], first)
        return pl.concat([part for part, _ in made], how="vertical_relaxed"), sum(dropped for _, dropped in made)

    def _convert(self, frame: pl.DataFrame, first: int) -> tuple[pl.DataFrame, int]:
        kept = frame if self._where is None else frame.filter(self._where)
        kept = kept.with_columns(self._history.alias(HISTORY))
        chunk = Chunk(kept, first + kept[ROW].cast(pl.Int64).to_numpy(), Places(["told"], [first]))
        return full(chunk, self._reading, stop).with_columns(kept[EVENT_ID]), frame.height - kept.height

    def _ids(self, column: str, values: list[Any]) -> tuple[pl.Series, Bool]:
        """Ids in the log's type if all of them fit, else as text: they compare as text either way."""
        dtype, kinds = self._types[column], set(map(type, values))
        if (kinds == {str} and dtype == pl.String) or (kinds == {int} and dtype == pl.Int64 and _fits(values)):
            return pl.Series(column, values, dtype=dtype), np.zeros(len(values), bool)
        whole = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
        text = pl.Series(column, [v if v is None or isinstance(v, str) else str(v) for v in whole], dtype=pl.String)
        typed = text.cast(dtype, strict=False)
        same = (as_text(typed) == text).fill_null(False).all()
        return (typed if same else text), text.is_null().to_numpy()

    def _time(self, at: Sequence[Any]) -> tuple[pl.Series, Bool]:
        clock, dtype = self._reading.clock, self._types[self._reading.clock.column]
        if clock.form:
            text = [str(v) if isinstance(v, (str, int)) and not isinstance(v, bool) else None for v in at]
            series = pl.Series(clock.column, text, dtype=pl.String).cast(dtype, strict=False)
            return series, series.is_null().to_numpy()
        words = clock.unit in ("datetime", "text")
        values = list(at)
        if not set(map(type, values)) <= ({str} if words else {int, float}):
            values = [v if isinstance(v, str) == words and not isinstance(v, bool) else None for v in at]
        if clock.unit != "datetime":
            series, lost = _column(clock.column, values, dtype)
        else:
            micros = iso_micros(pl.Series(clock.column, values, dtype=pl.String))
            zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
            series = micros.cast(pl.Datetime("us", zone)).cast(dtype).alias(clock.column)
            lost = series.is_null().to_numpy()
        return series, lost | ~_given(values)


def _types_of(folder: Path) -> dict[str, pl.DataType]:
    try:
        return dict(pl.read_ipc_schema(folder / COLUMNS))
    except (OSError, PolarsError):
        raise FolderError(f"{folder}: no {COLUMNS} that can be read: prepare the events anew") from None


def _chunk(frame: pl.DataFrame) -> Chunk:
    return Chunk(frame, np.arange(frame.height), Places(["row"], [0]))


def _column(name: str, values: list[Any], dtype: pl.DataType) -> tuple[pl.Series, Bool]:
    """Values in a type of the log, and which of them do not fit it."""
    if (
        dtype.is_integer()
        and float in map(type, values)
        and not all(v.is_integer() for v in values if type(v) is float)
    ):
        dtype = pl.Float64()
    given = _given(values)
    try:
        series = pl.Series(name, values, dtype=dtype, strict=False)
    except (PolarsError, TypeError, ValueError, OverflowError):
        if len(values) == 1:
            return pl.Series(name, [None], dtype=dtype), np.ones(1, bool)
        # One of them does not fit at all: each by itself.
        each = [_column(name, [value], dtype) for value in values]
        return pl.concat([series for series, _ in each]), np.concatenate([lost for _, lost in each])
    return series, given & series.is_null().to_numpy()


def _given(values: Sequence[Any]) -> Bool:
    if None not in values:
        return np.ones(len(values), bool)
    return np.array([value is not None for value in values], bool)


def _fits(whole: list[int]) -> bool:
    return min(whole) >= -(2**63) and max(whole) < 2**63
