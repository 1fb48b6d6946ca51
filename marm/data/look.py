"""A look at a log before anything is known of it: names, a sample, and totals of every column."""

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import polars as pl
from polars.datatypes import DataTypeClass
from polars.exceptions import PolarsError

from marm.data.formats import is_data, is_name_of_data, nameless, scan
from marm.data.ids import as_text
from marm.data.source import Log, open_log
from marm.errors import DataError

_SAMPLE_ROWS = 100_000
_MOST_FILES = 50
_TOLD_BY = 1000
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

    log: Log
    sample: pl.DataFrame
    """Its first rows."""
    rows: int
    nulls: dict[str, int]
    """Rows without a value, of the whole log."""
    ones: dict[str, int]
    """Of columns that hold nothing but 0, 1, true, false and null in the whole log: how many are 1."""
    beside: dict[Path, list[str]]
    """Data files in the log's folder that are none of its own, and the names of their columns."""
    path: Path
    """The log as it was named: a file, a folder or a glob."""

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
            values = self.sample[column].cast(pl.Float64).drop_nulls().drop_nans()
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


def parted(path: Path) -> tuple[Path, str]:
    """A folder that is there, and the log in it: a file, a folder or a glob."""
    base = path.parent
    while any(mark in str(base) for mark in "*?[") and not base.is_dir():
        base = base.parent
    return base, str(path.relative_to(base))


def takes_in(path: Path, file: Path) -> bool:
    """Whether a log, a folder or a glob, holds a file by its name, or would once it is there."""
    base, pattern = parted(path)
    folder, file = (path if path.is_dir() else base).resolve(), file.resolve()
    if not file.is_relative_to(folder):
        return False
    if path.is_dir():
        return is_name_of_data(file, folder)
    steps, wanted = file.relative_to(folder).parts, Path(pattern).parts
    if "**" in wanted:
        return fnmatchcase(steps[-1], wanted[-1])
    return len(steps) == len(wanted) and all(map(fnmatchcase, steps, wanted))


def open_named(path: Path) -> Log:
    """A log whose columns have names. Errors: ``DataError`` where values stand in their place, or where it cannot be read."""
    log = open_log(*parted(path))
    unnamed = nameless(log.files[0])
    if unnamed is not None:
        remedy = 'give its columns names first, as docs/own_data.md does under "Files without names"'
        raise DataError(f"{log.files[0]}: the first line holds values, not names ({unnamed}): {remedy}")
    return log


def look_at(path: Path) -> Look:
    """Read a log's columns, first rows and totals.

    Errors: ``DataError`` if it cannot be read, is empty, or has values where the names of its columns should be.
    """
    log = open_named(path)
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
    if not rows:
        raise DataError(f"{log.files[0]}: empty log (no rows): name one with rows")
    known = {name: ones[name] for name in log.schema if name in binary}
    return Look(log, sample, rows, nulls, known, _beside(log, path), path)


def _beside(log: Log, path: Path) -> dict[Path, list[str]]:
    """Files in the log's folder that can be read."""
    folder = parted(path)[0]
    own = {file.resolve() for file in log.files}
    near = [
        file for file in sorted(folder.iterdir()) if is_data(file, folder, named=True) and file.resolve() not in own
    ]
    found = {}
    for file in near[:_MOST_FILES]:
        with suppress(DataError, PolarsError, OSError):
            found[file] = list(scan(file, rows=_TOLD_BY).collect_schema())
    return found


def words(name: str) -> list[str]:
    """A column's name in words: ``watchTimeMs`` and ``watch_time_ms`` are watch, time, ms."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return [word for part in re.split(r"[^a-z0-9]+", parted) if part for word in _ABBREVIATED.get(part, (part,))]
