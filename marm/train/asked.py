"""What is asked or told from outside, as the stream has it: ids hashed, features converted, missing columns absent."""

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.data.columns import convert
from marm.data.events import Column, Tags, absent, take
from marm.data.ids import hash_text
from marm.data.stream import EventLog
from marm.data.times import MICROS, Clock, clock_named, clock_of, to_micros
from marm.data.trouble import Chunk, Places
from marm.errors import DataError
from marm.types import I64, U64


def chunk_of(frame: pl.DataFrame, name: str) -> Chunk:
    """A frame as rows of a log that messages call ``name``."""
    return Chunk(frame, np.arange(len(frame)), Places([name], [0]))


def ids_of(frame: pl.DataFrame, column: str, name: str) -> U64:
    """Hashed ids (n,). Errors: ``DataError`` where the column is missing or null."""
    if column not in frame.columns:
        raise DataError(f"{name}: no column {column}; it has {', '.join(frame.columns)}")
    hashes = hash_text(frame[column])
    if not hashes.all():
        row = int(np.flatnonzero(hashes == 0)[0])
        raise DataError(f"{name}: row {row + 1}, column {column}: null; give every pair a {column}")
    return hashes


def logged_clock(log: EventLog) -> Clock:
    """How the log writes times."""
    return clock_named(log.manifest.time_column, log.manifest.time_unit)


def times_of(chunk: Chunk, log: EventLog) -> I64:
    """Times as the log writes them, in microseconds (n,). Errors: the first bad one."""
    micros, good, troubles = to_micros(chunk, clock_for(chunk.frame[log.manifest.time_column], log))
    if not good.all():
        raise DataError(str(troubles[0]))
    return micros


def clock_for(given: pl.Series, log: EventLog) -> Clock:
    """How to read times that are given from outside: in the log's unit, if they are numbers, or in its form."""
    clock = logged_clock(log)
    return clock_of(given, clock.unit if clock.unit in MICROS else "auto", clock.form or None)


def features_of(chunk: Chunk, run: RunConfig, scope: str, log: EventLog) -> dict[str, Column]:
    """Logged features of a scope, from columns of the same names; one that is not there is missing on every row."""
    out: dict[str, Column] = {}
    for name in log.manifest.columns[scope]:
        how = log.manifest.how(scope, name)
        if name in chunk.frame.columns:
            out[name] = as_column(convert(chunk, name, how))
        else:
            out[name] = absent(how.kind, len(chunk.frame), how.width)
    return out


def as_column(series: pl.Series) -> Column:
    """A converted series as the stream's arrays."""
    if isinstance(series.dtype, pl.List):
        counts = series.list.len().to_numpy().astype(np.int64)
        values = series.explode(empty_as_null=False, keep_nulls=False).to_numpy()
        return Tags(values, np.concatenate([[0], np.cumsum(counts)]))
    column: Column = series.to_numpy()
    return column


def pick(columns: dict[str, Column], at: I64) -> dict[str, Column]:
    """The entries of columns at these places."""
    return {name: take(column, at) for name, column in columns.items()}
