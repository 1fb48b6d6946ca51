"""What can be wrong with a log: each one line with file, row, column, value and remedy."""

import difflib
import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marm.errors import DataError
from marm.types import I64, Bool


@dataclass(frozen=True)
class Trouble:
    """One thing wrong, or doubtful, in a log."""

    kind: str
    severity: Literal["error", "warning"]
    message: str


@dataclass
class Places:
    """Files of a log, and the row of the whole log at which each begins; grows while the log is read."""

    names: list[str] = field(default_factory=list)
    first: list[int] = field(default_factory=list)

    def at(self, row: int) -> str:
        """A row of the whole log (0-based) as a person finds it: file, and row of its data (1-based)."""
        file = bisect_right(self.first, row) - 1
        return f"{self.names[file]} row {row - self.first[file] + 1}"


class TroubleError(DataError):
    """Something wrong that ``validate`` collects and ``prepare`` stops at."""

    def __init__(self, kind: str, column: str, found: str, remedy: str, count: int = 0) -> None:
        super().__init__(f"{found}: {remedy}")
        self.kind, self.column, self.found, self.remedy, self.count = kind, column, found, remedy, count


class Troubles:
    """Collects troubles: of each kind and column the first, and how many rows had it."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], TroubleError] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._newest: dict[tuple[str, str], str] = {}

    def add(self, error: TroubleError) -> None:
        """Keep the first of its kind and column; count the rest, rows that several settings read once."""
        key = (error.kind, error.column)
        self._errors.setdefault(key, error)
        if self._newest.get(key) != error.found:
            self._counts[key] = self._counts.get(key, 0) + error.count
        self._newest[key] = error.found

    def extend(self, later: "Troubles") -> None:
        """Take over what another collection met."""
        for key, error in later._errors.items():
            self._errors.setdefault(key, error)
            self._counts[key] = self._counts.get(key, 0) + later._counts[key]

    def has(self, column: str | None) -> bool:
        """Whether a column is in trouble already."""
        return any(key[1] == column for key in self._errors)

    def list(self) -> list[Trouble]:
        """One line each, in the order in which they were met."""
        return [Trouble(error.kind, "error", self._line(key, error)) for key, error in self._errors.items()]

    def _line(self, key: tuple[str, str], error: TroubleError) -> str:
        count = self._counts[key]
        return f"{error.found} ({count:,} such rows): {error.remedy}" if count > 1 else str(error)


@dataclass(frozen=True)
class Chunk:
    """Some rows of the log, raw, after ``data.where``; ``row`` (n,) numbers them over all files."""

    frame: pl.DataFrame
    row: I64
    places: Places

    def trouble(self, kind: str, column: str, bad: Bool | pl.Series, says: str, remedy: str) -> TroubleError:
        """The trouble of the first bad row; ``says`` completes "FILE row N: COLUMN = VALUE ..."."""
        rows = np.flatnonzero(bad.fill_null(False).to_numpy() if isinstance(bad, pl.Series) else bad)
        first = int(rows[0])
        value = show(self.frame[column][first])
        found = f"{self.places.at(int(self.row[first]))}: {column} = {value} {says}".rstrip()
        return TroubleError(kind, column, found, remedy, len(rows))


def show(value: object) -> str:
    """A value as a message shows it: text in quotes, long ones cut, nothing as null."""
    if value is None:
        return "null"
    if isinstance(value, pl.Series):
        value = value.head(20).to_list()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def sql_name(column: str) -> str:
    """A column as SQL names it: in double quotes where the bare name would be read as something else."""
    try:
        bare = column.isidentifier() and pl.sql_expr(f"{column} IS NULL").meta.root_names() == [column]
    except PolarsError:
        bare = False
    return column if bare else '"' + column.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def where_remedy(column: str, condition: str) -> str:
    """The line of a run file that leaves bad rows out."""
    sql = f"{sql_name(column)} {condition}"
    return f"set data.where = {json.dumps(sql, ensure_ascii=False)} to leave such rows out"


def no_column(setting: str, column: str, there: Iterable[str], file: str) -> TroubleError:
    """A setting that names a column which the file does not have."""
    near = near_match(column, list(there))
    has = "has a" if file.startswith("neither ") else "has no"
    hint = f"did you mean {near}?" if near else f"it has {', '.join(there)}"
    return TroubleError("missing column", column, f"{setting}: {file} {has} column {column}", hint)


def near_match(name: str, names: Sequence[str]) -> str | None:
    """The name nearest to a wrong one, case aside."""
    folded = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), list(folded), 1, 0.6)
    return folded[found[0]] if found else None
