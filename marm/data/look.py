"""A look at a log before anything is known of it: names, a sample, and totals of every column."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marm.data.source import Log, open_log

_SAMPLE_ROWS = 100_000
_ABBREVIATED = {
    "uid": ("user", "id"),
    "iid": ("item", "id"),
    "vid": ("video", "id"),
    "ts": ("timestamp",),
    "num": ("n",),
}


@dataclass(frozen=True)
class Look:
    """What is seen of a log."""

    log: Log
    sample: pl.DataFrame
    """Its first rows."""
    rows: int
    nulls: dict[str, int]
    """Rows without a value, of the whole log."""
    ones: dict[str, int]
    """Of columns that hold nothing but 0, 1, true, false and null in the whole log: how many are 1."""

    def numeric(self, column: str) -> bool:
        """Whether a column holds numbers (not true and false)."""
        return self.log.schema[column].is_numeric()

    def distinct(self, column: str) -> int:
        """Distinct values in the sample; lists count as none."""
        return 0 if self.log.schema[column].is_nested() else self.sample[column].drop_nulls().n_unique()


def look_at(path: Path) -> Look:
    """Read a log's columns, first rows and totals. Errors: ``DataError`` if it cannot be read or is empty."""
    log = open_log(path.parent, path.name)
    sample = pl.DataFrame(schema=log.schema)
    rows, nulls, ones = 0, dict.fromkeys(log.schema, 0), dict.fromkeys(log.schema, 0)
    binary = {name for name, dtype in log.schema.items() if dtype.is_numeric() or dtype == pl.Boolean}
    for _, frame in log.frames({name: pl.col(name) for name in log.schema}):
        if sample.height < _SAMPLE_ROWS:
            sample = pl.concat([sample, frame.head(_SAMPLE_ROWS - sample.height)])
        rows += frame.height
        for name, count in frame.null_count().row(0, named=True).items():
            nulls[name] += count
        for name in list(binary):
            values = frame[name]
            if values.dtype != pl.Boolean and not ((values == 0) | (values == 1)).fill_null(True).all():
                binary.discard(name)
            else:
                ones[name] += int(values.sum() or 0)
    return Look(log, sample, rows, nulls, {name: ones[name] for name in log.schema if name in binary})


def words(name: str) -> list[str]:
    """A column's name in words: ``watchTimeMs`` and ``watch_time_ms`` are watch, time, ms."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return [word for part in re.split(r"[^a-z0-9]+", parted) if part for word in _ABBREVIATED.get(part, (part,))]
