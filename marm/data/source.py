"""Logs as they lie on disk: files found, their columns agreed on, rows read in chunks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marm.config import is_topic
from marm.data.broken import broken_row
from marm.data.formats import format_of, is_data, is_name_of_data, scan
from marm.data.trouble import Chunk, Places, TroubleError, near_match
from marm.errors import DataError, first_line

_WILD = frozenset("*?[")
CHUNK_ROWS = 2**18
KEEP, HISTORY = "__keep", "__history"


def parted(path: Path) -> tuple[Path, str]:
    """A folder that is there, and the log in it: a file, a folder or a glob."""
    base = path.parent
    while _WILD & set(str(base)) and not base.is_dir():
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


def find_files(base: Path, log: str | list[str]) -> list[Path]:
    """Files of a log given as a file, a list, a glob or a folder, in order of name where the name is not given."""
    if is_topic(log):
        raise DataError(f"{log}: a topic: only marm train and marm follow read one")
    if isinstance(log, list):
        return [file for entry in log for file in find_files(base, entry)]
    path = base / log
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if is_data(file, path))
        wanted = "Parquet, CSV or NDJSON files"
        if not found and (named := [file for file in path.rglob("*") if is_data(file, path, named=True)]):
            largest = max(named, key=lambda file: file.stat().st_size)
            kind = f"{largest.name} is read only where it is named"
            raise DataError(f"{path}: {kind}: give {largest}, or a glob of the log's files")
    elif _WILD & set(log):
        found = sorted(file for file in _glob(base, log) if file.is_file())
        wanted = "files that match"
        if not found and (inside := _in_folders(base, log)):
            raise DataError(
                f"{path}: folders match, and no files: name what is in them, as in '{path}/*{inside.suffix}'"
            )
    else:
        raise DataError(f"{path}: no such file{_like(path)}: set data.log and data.path")
    if not found:
        raise DataError(f"{path}: no {wanted}: set data.log and data.path")
    return found


def _in_folders(base: Path, pattern: str) -> Path | None:
    """A data file in a folder that matches."""
    folders = [folder for folder in _glob(base, pattern) if folder.is_dir()]
    return next((file for folder in folders for file in sorted(folder.iterdir()) if is_data(file, folder)), None)


def _glob(base: Path, pattern: str) -> Iterator[Path]:
    absolute = Path(pattern)
    if absolute.is_absolute():
        return Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor)))
    return base.glob(pattern)


def _like(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    near = near_match(path.name, [entry.name for entry in path.parent.iterdir()])
    return f"; did you mean {near}?" if near else ""


def schema_of(path: Path) -> dict[str, pl.DataType]:
    """Columns of a file and their types; none for an empty one. Errors: ``DataError`` for one that cannot be read."""
    try:
        return dict(scan(path).collect_schema()) if path.stat().st_size else {}
    except (PolarsError, OSError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: BaseException) -> DataError:
    """The one line for a file that polars refused."""
    reason = broken_row(path) or first_line(error)
    return DataError(f"{path}: cannot be read ({reason}): mend it, or write it as Parquet with one type a column")


@dataclass(frozen=True)
class Log:
    """Files of a log and the columns that all of them have, with a type that holds each file's."""

    files: list[Path]
    schemas: list[dict[str, pl.DataType]]
    schema: dict[str, pl.DataType]
    roles: frozenset[str] = frozenset()
    """Columns of ids and times: NaN is null there, so that conditions see what is missing."""

    @property
    def name(self) -> str:
        """How messages call it."""
        first = self.files[0].name
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1:,} more"

    def names(self) -> list[str]:
        """The files' names, in full where two are the same."""
        short = [file.name for file in self.files]
        return short if len(set(short)) == len(short) else [str(file) for file in self.files]

    def frames(self, columns: Mapping[str, pl.Expr], rows: int = CHUNK_ROWS) -> Iterator[tuple[int, pl.DataFrame]]:
        """Named expressions over the log in chunks of about ``rows``, each with the number of its file."""
        wanted = [expr.alias(name) for name, expr in columns.items()]
        for number, file in enumerate(self.files):
            if not self.schemas[number]:
                continue
            try:
                lazy = self._lazy(number).select(wanted)
                for frame in lazy.collect_batches(chunk_size=rows, maintain_order=True):
                    yield number, frame
            except (PolarsError, OSError) as error:
                raise unreadable(file, error) from None

    def count_rows(self) -> int:
        """Rows of all files, before ``data.where``; reads text files through."""
        try:
            lazy = [self._lazy(number).select(pl.len()) for number in range(len(self.files)) if self.schemas[number]]
            return sum(int(frame.item()) for frame in pl.collect_all(lazy))
        except (PolarsError, OSError) as error:
            raise unreadable(self.files[0], error) from None

    def first(self, column: str, where: pl.Expr | None) -> pl.Series:
        """The first value that is not null, NaN or infinite, of rows that ``where`` keeps; empty if there is none."""
        found = pl.Series(column, [], dtype=self.schema[column])
        there = pl.col(column).is_finite() if found.dtype.is_float() else pl.col(column).is_not_null()
        for number, file in enumerate(self.files):
            if self.schemas[number]:
                lazy = self._lazy(number) if where is None else self._lazy(number).filter(where)
                try:
                    found = lazy.select(column).filter(there).head(1).collect()[column]
                except (PolarsError, OSError) as error:
                    raise unreadable(file, error) from None
            if len(found):
                break
        return found

    def _lazy(self, number: int) -> pl.LazyFrame:
        present = self.schemas[number]
        casts = [pl.col(name).cast(dtype) for name, dtype in self.schema.items() if present[name] != dtype]
        return scan(self.files[number], present).with_columns(casts).with_columns(missing(self.schema, self.roles))


def missing(schema: Mapping[str, pl.DataType], roles: Iterable[str]) -> list[pl.Expr]:
    """Columns of ids and times that can hold NaN, with null in its place."""
    return [pl.col(name).fill_nan(None) for name in roles if name in schema and schema[name].is_float()]


def open_log(base: Path, log: str | list[str]) -> Log:
    """Find a log's files and agree on their columns; columns that not all files have are left out."""
    files = find_files(base, log)
    schemas = [schema_of(file) for file in files]
    if len(files) > 1:
        schemas = [{} if _only_names(*of) else of[1] for of in zip(files, schemas, strict=True)]
    present = [schema for schema in schemas if schema]
    if not present:
        raise TroubleError("empty log", "", f"{files[0]}: empty log (no rows)", "set data.log to one with rows")
    schema = present[0]
    for other in present[1:]:
        schema = {name: wider(dtype, other[name], name) for name, dtype in schema.items() if name in other}
    if not schema:
        raise _unlike(files, schemas)
    return Log(files, schemas, schema)


def _only_names(path: Path, schema: dict[str, pl.DataType]) -> bool:
    """Whether a CSV has no rows, so that its types say nothing: they would make text of what other files have as numbers."""
    if format_of(path) != "csv" or set(schema.values()) != {pl.String()}:
        return False
    try:
        return scan(path, schema).head(1).collect().is_empty()
    except (PolarsError, OSError) as error:
        raise unreadable(path, error) from None


def _unlike(files: list[Path], schemas: list[dict[str, pl.DataType]]) -> DataError:
    """Files that are not one log: two of them that have no column in common, or the first and the last."""
    full = [at for at, schema in enumerate(schemas) if schema]
    first, other = full[0], next((at for at in full if schemas[full[0]].keys().isdisjoint(schemas[at])), full[-1])
    has = [f"{files[at].name} has {', '.join(list(schemas[at])[:4])}" for at in (first, other)]
    remedy = "name the files of the log alone, by a glob as in 'FOLDER/log_*.csv'"
    return DataError(f"{len(full)} files have no column in common ({'; '.join(has)}): {remedy}")


def wider(one: pl.DataType, other: pl.DataType, name: str) -> pl.DataType:
    """A type that holds values of both. Errors: ``DataError`` where there is none."""
    if one == other:
        return one
    try:
        frames = [pl.DataFrame(schema={name: dtype}) for dtype in (one, other)]
        return pl.concat(frames, how="vertical_relaxed").schema[name]
    except PolarsError:
        if one.is_nested() or other.is_nested():
            raise DataError(f"column {name} is {one} in one file and {other} in another: write it alike") from None
        return pl.String()


class LogReader:
    """Reads the columns that a run needs, chunk by chunk, and counts what ``data.where`` drops."""

    def __init__(self, log: Log, columns: list[str], where: pl.Expr | None, history: pl.Expr | None) -> None:
        self.log = log
        self._wanted = {name: pl.col(name) for name in dict.fromkeys(columns)}
        if where is not None:
            self._wanted[KEEP] = where.fill_null(False)
        self._wanted[HISTORY] = pl.lit(True) if history is None else history.fill_null(False)
        self.places = Places()
        self.rows = 0
        self.dropped = 0

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """The log from its start, rows that ``data.where`` drops left out; counts start over."""
        self.places, self.rows, self.dropped = Places(), 0, 0
        names = self.log.names()
        for file, frame in self.log.frames(self._wanted, rows):
            # A file without rows has no chunk; it begins where the next one does.
            while len(self.places.names) <= file:
                self.places.names.append(names[len(self.places.names)])
                self.places.first.append(self.rows)
            row = np.arange(self.rows, self.rows + frame.height)
            self.rows += frame.height
            if KEEP in frame:
                keep = frame[KEEP]
                row = row[keep.to_numpy()]
                frame = frame.filter(keep).drop(KEEP)
                self.dropped += len(keep) - len(row)
            if len(row):
                yield Chunk(frame, row, self.places)
