"""A look at a log before anything is known of it: names, a sample, and totals of every column."""

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import polars.selectors as cs
from polars.datatypes import DataTypeClass
from polars.exceptions import PolarsError

from marm.data.formats import TOLD_BY, format_of, is_data, nameless, scan
from marm.data.ids import as_text
from marm.data.source import Log, open_log
from marm.data.trouble import show
from marm.errors import DataError

_SAMPLE_ROWS = 100_000
_MOST_FILES = 50
_BLANK = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "\\N")
_ABBREVIATED = {
    "uid": ("user", "id"),
    "iid": ("item", "id"),
    "aid": ("article", "id"),
    "vid": ("video", "id"),
    "ts": ("timestamp",),
    "num": ("n",),
}


@dataclass(frozen=True)
class Look:
    """What is seen of a log."""

    folder: Path
    named: str | list[str]
    """Its files as a run file names them, relative to the folder."""
    log: Log
    sample: pl.DataFrame
    """Its first rows; NaN and infinity are null."""
    rows: int
    nulls: dict[str, int]
    """Rows without a value, of the whole log; NaN is none."""
    ones: dict[str, int]
    """Of columns that hold nothing but 0, 1, true, false and null in the whole log: how many are 1."""
    beside: dict[Path, list[str]]
    """Data files in the log's folder that are none of its own, and the names of their columns."""

    @property
    def path(self) -> Path:
        """The log as a command names it: a file or a glob; the folder where it is a list."""
        return self.folder / self.named if isinstance(self.named, str) else self.folder

    def numeric(self, column: str) -> bool:
        """Whether a column holds numbers (not true and false)."""
        return self.log.schema[column].is_numeric()

    def distinct(self, column: str) -> int:
        """Distinct values in the sample; lists count as none."""
        return 0 if self.log.schema[column].is_nested() else self.sample[column].drop_nulls().n_unique()

    def is_key(self, column: str) -> bool:
        """Whether a column may hold ids: whole numbers or text."""
        dtype = self.log.schema[column]
        if dtype.is_float() or dtype.is_decimal():
            values = self.sample[column].cast(pl.Float64).drop_nulls()
            return len(values) > 0 and bool((values == values.floor()).all())
        return dtype.is_integer() or is_text(dtype)

    def blanks(self, column: str) -> list[str]:
        """Texts of a column that stand for nothing, such as NA."""
        if not is_text(self.log.schema[column]):
            return []
        return sorted(set(_BLANK) & set(as_text(self.sample[column].drop_nulls().unique()).to_list()))

    def missing(self, column: str) -> float:
        """Share of rows of the sample without a value; what stands for nothing is none."""
        series = self.sample[column]
        blank = as_text(series).is_in(self.blanks(column)).sum() if is_text(series.dtype) else 0
        return float(series.null_count() + blank) / max(self.sample.height, 1)

    def common(self) -> set[str]:
        """Words that so many columns begin with that they tell nothing of one."""
        first = Counter(words(name)[0] for name in self.log.schema if words(name))
        return {word for word, count in first.items() if count > max(3, len(self.log.schema) / 3)}

    def left_out(self) -> list[str]:
        """Columns that some files have and others do not."""
        return sorted({name for schema in self.log.schemas for name in schema} - self.log.schema.keys())


def is_text(dtype: pl.DataType | DataTypeClass) -> bool:
    """Whether a column holds text, however it is kept."""
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def open_named(folder: Path, named: str | list[str]) -> Log:
    """A log whose columns have names. Errors: ``DataError`` where values stand in their place, or where it cannot be read."""
    log = open_log(folder, named)
    unnamed = nameless(log.files[0])
    if unnamed is not None:
        remedy = 'give its columns names first, as docs/own_data.md does under "Files without names"'
        raise DataError(f"{log.files[0]}: the first line holds values, not names ({unnamed}): {remedy}")
    if len(log.schemas[0]) == 1 and format_of(log.files[0]) == "csv":
        name = show(next(iter(log.schemas[0])))
        remedy = "part the fields of each line by commas, tabs, semicolons or bars"
        raise DataError(f"{log.files[0]}: only one column, {name}: {remedy}")
    return log


def look_at(folder: Path, named: str | list[str]) -> Look:
    """Read a log's columns, first rows and totals.

    Errors: ``DataError`` if it cannot be read, is empty, or has values where the names of its columns should be.
    """
    log = open_named(folder, named)
    counts = _Counts(log)
    for _, frame in log.frames({name: pl.col(name) for name in log.schema}):
        counts.add(frame)
    if not counts.rows:
        raise DataError(f"{log.files[0]}: empty log (no rows): name one with rows")
    return counts.look(folder, named, _beside(log, folder))


def glance_at(folder: Path, named: str | list[str]) -> Look:
    """Read a log's columns and the first rows of its first file alone; totals are theirs. Errors: as ``look_at``."""
    log = open_named(folder, named)
    counts = _Counts(log)
    frames = log.frames({name: pl.col(name) for name in log.schema})
    counts.add(next((frame for _, frame in frames if frame.height), counts.sample))
    return counts.look(folder, named, {})


class _Counts:
    """Sample and totals of a log's columns, frame by frame."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.sample = pl.DataFrame(schema=log.schema)
        self.rows = 0
        self.nulls = dict.fromkeys(log.schema, 0)
        self.ones = {name: 0 for name, dtype in log.schema.items() if dtype.is_numeric() or dtype == pl.Boolean}

    def add(self, frame: pl.DataFrame) -> None:
        """Count more rows."""
        frame = frame.with_columns(cs.float().fill_nan(None))
        if self.sample.height < _SAMPLE_ROWS:
            self.sample = pl.concat([self.sample, _finite(frame.head(_SAMPLE_ROWS - self.sample.height))])
        self.rows += frame.height
        for name, count in frame.null_count().row(0, named=True).items():
            self.nulls[name] += count
        for name in list(self.ones):
            values = frame[name]
            if values.dtype != pl.Boolean and not ((values == 0) | (values == 1)).fill_null(True).all():
                del self.ones[name]
            else:
                self.ones[name] += int(values.sum() or 0)

    def look(self, folder: Path, named: str | list[str], beside: dict[Path, list[str]]) -> Look:
        """What was counted."""
        return Look(folder, named, self.log, self.sample, self.rows, self.nulls, self.ones, beside)


def _finite(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with null where a number is infinite."""
    floats = [pl.col(name) for name, dtype in frame.schema.items() if dtype.is_float()]
    return frame.with_columns(pl.when(column.is_finite()).then(column) for column in floats)


def _beside(log: Log, folder: Path) -> dict[Path, list[str]]:
    """Files in the log's folder that can be read."""
    own = {file.resolve() for file in log.files}
    near = [
        file for file in sorted(folder.iterdir()) if is_data(file, folder, named=True) and file.resolve() not in own
    ]
    found = {}
    for file in near[:_MOST_FILES]:
        with suppress(DataError, PolarsError, OSError):
            found[file] = list(scan(file, rows=TOLD_BY).collect_schema())
    return found


def words(name: str) -> list[str]:
    """A column's name in words: ``watchTimeMs`` and ``watch_time_ms`` are watch, time, ms."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return [word for part in re.split(r"[^a-z0-9]+", parted) if part for word in _ABBREVIATED.get(part, (part,))]
