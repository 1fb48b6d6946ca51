"""Which format a data file has, told by its name and its first lines."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote

import polars as pl

from marm.data.times import iso_micros
from marm.errors import DataError

TOLD_BY = 1000
"""Rows that tell the columns of a file of which nothing else is asked."""
_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson",
}  # fmt: skip
_ONLY_NAMED = {".txt": "csv", ".dat": "csv", ".data": "csv", ".json": "ndjson"}
_SEPARATORS = (",", "\t", ";", "|")
_HEAD = 2**16
_INFER_ALL = 256 * 1024**2
_INFER_ROWS = 100_000
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_UTF16 = "\ufffd\ufffd"
"""How its byte order mark is read as UTF-8."""
_PADDED = re.compile(r"0\d+")
_LONG_NUMBER = re.compile(r"-?\d{5,}|-?\d+\.\d+")


def is_data(file: Path, folder: Path, named: bool = False) -> bool:
    """Whether a file under a folder is a data file that is not hidden; ``named``: or would be one if it were named."""
    return file.is_file() and is_name_of_data(file, folder, named)


def is_name_of_data(file: Path, folder: Path, named: bool = False) -> bool:
    """Whether a file under a folder, there or not, has the name of a data file that is not hidden."""
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    return not hidden and _ending(file) in (_FORMATS | _ONLY_NAMED if named else _FORMATS)


def format_of(path: Path) -> str:
    """``parquet``, ``csv`` or ``ndjson``. Errors: ``DataError`` for another kind of file."""
    ending = _ending(path)
    found = _FORMATS.get(ending) or _ONLY_NAMED.get(ending)
    if found is None or (found == "parquet" and path.suffix.lower() == ".gz"):
        kind = f"a {path.suffix} file" if path.suffix else "a file whose name has no ending"
        remedy = "give .parquet, .csv, .tsv, .ndjson or .jsonl (text may be in .gz)"
        raise DataError(f"{path}: {kind}; {remedy}")
    return found


def written_as(path: Path) -> str:
    """The format in which a file of this name is written. Errors: ``DataError`` for another kind of file, and ``.gz``."""
    if path.suffix.lower() == ".gz":
        raise DataError(f"{path}: a .gz is read, never written; give .parquet, .csv, .tsv, .ndjson or .jsonl")
    return format_of(path)


def sink(frame: pl.LazyFrame, path: Path, name: Path) -> None:
    """Write a frame to ``path`` in the format that ``name`` says. Errors: ``DataError`` for lists in CSV."""
    match written_as(name):
        case "parquet":
            frame.sink_parquet(path)
        case "csv":
            lists = [column for column, dtype in frame.collect_schema().items() if dtype.is_nested()]
            if lists:
                raise DataError(f"{name}: CSV holds no lists, as column {lists[0]} has: give .parquet or .ndjson")
            frame.sink_csv(path, separator="\t" if _ending(name) == ".tsv" else ",")
        case _:
            frame.sink_ndjson(path)


def _ending(path: Path) -> str:
    """The ending that names the format, ``.gz`` aside."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def scan(path: Path, schema: dict[str, pl.DataType] | None = None, rows: int | None = None) -> pl.LazyFrame:
    """A lazy frame of a Parquet, CSV or NDJSON file; types of text files come from all rows of files up to 256 MB.

    ``rows``: so many tell the types instead, where only names are asked for.
    Fields of a CSV are parted as its first line is; numbers with leading zeros stay text, since they are ids.
    What folders above it say, as ``dt=2024-01-01``, are columns of text, unless it has one of that name.
    """
    told = _told_by_folders(path)
    if not told:
        return _scan(path, schema, rows)
    own = _scan(path, None, TOLD_BY).collect_schema()
    told = {name: value for name, value in told.items() if name not in own}
    kept = None if schema is None else {name: dtype for name, dtype in schema.items() if name not in told}
    return _scan(path, kept, rows).with_columns(pl.lit(value, pl.String).alias(name) for name, value in told.items())


def _told_by_folders(path: Path) -> dict[str, str | None]:
    """Values in the names of the folders above a file, as Hive and Spark write them."""
    parts = (part.partition("=") for part in path.absolute().parts[:-1])
    return {name: None if value == _NO_VALUE else unquote(value) for name, mark, value in parts if name and mark}


def _scan(path: Path, schema: dict[str, pl.DataType] | None, rows: int | None) -> pl.LazyFrame:
    """What the file itself holds."""
    match format_of(path):
        case "parquet":
            return pl.scan_parquet(path, glob=False, hive_partitioning=False)
        case "csv":
            mark = separator(path)
            kept = None if schema is not None else dict.fromkeys(_padded(path, mark), pl.String())
            return pl.scan_csv(
                path, schema=schema, schema_overrides=kept, separator=mark, infer_schema_length=rows or _infer_rows(path),
                glob=False,
            )  # fmt: skip
    if _head(path).lstrip().startswith("["):
        raise DataError(f"{path}: one JSON list: write one object a line, as NDJSON: `jq -c '.[]' FILE > NEW`")
    if _marked(path):
        remedy = "leave out its first three bytes, as `tail -c +4 FILE > NEW` does"
        raise DataError(f"{path}: begins with a byte order mark, which JSON has none of: {remedy}")
    return pl.scan_ndjson(path, schema=schema, infer_schema_length=rows or _infer_rows(path))


def separator(path: Path) -> str:
    """What parts the fields of a CSV: of comma, tab, semicolon and bar the one that its first line has most of."""
    line = re.sub(r'"[^"]*"', "", _head(path).partition("\n")[0])
    if "::" in line and not any(mark in line for mark in _SEPARATORS):
        raise DataError(f"{path}: fields are parted by ::, which is no CSV: write it as Parquet, see docs/own_data.md")
    return max(_SEPARATORS, key=line.count)


def nameless(path: Path) -> str | None:
    """The first line of a CSV that holds values where names of columns should be; nothing where it holds names."""
    if format_of(path) != "csv":
        return None
    cells = next(_rows(path, separator(path)), [])
    numbers = sum(cell.strip().lstrip("-").isdecimal() for cell in cells)
    telling = any(_LONG_NUMBER.fullmatch(cell.strip()) for cell in cells) or _any_time(cells)
    return ", ".join(cells)[:60] if telling or 2 * numbers > len(cells) else None


def _any_time(cells: list[str]) -> bool:
    return iso_micros(pl.Series(cells, dtype=pl.String)).null_count() < len(cells)


def _padded(path: Path, mark: str) -> list[str]:
    """Columns of whole numbers with leading zeros, in the first lines."""
    rows = _rows(path, mark)
    names = next(rows, [])
    found = {at for row in rows for at, cell in enumerate(row[: len(names)]) if _PADDED.fullmatch(cell)}
    return [names[at] for at in sorted(found) if names.count(names[at]) == 1]


def _rows(path: Path, mark: str) -> Iterator[list[str]]:
    """Rows of the first lines, the header first; one that was cut off is left out."""
    text = _head(path)
    whole = text if len(text) < _HEAD else text[: text.rfind("\n") + 1]
    try:
        yield from csv.reader(io.StringIO(whole, newline=""), delimiter=mark)
    except csv.Error:
        return  # Whatever reads the file says what is wrong with it.


def _marked(path: Path) -> bool:
    """Whether a text begins with a byte order mark."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _head(path: Path) -> str:
    with open_text(path) as file:
        text = file.read(_HEAD)
    if text.startswith(_UTF16):
        raise DataError(f"{path}: is UTF-16, not UTF-8: `iconv -f UTF-16 -t UTF-8 FILE > NEW`")
    return text


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file, in ``.gz`` or not, as its lines are; what is not UTF-8 is marked.

    Errors: ``DataError`` for a ``.gz`` that is cut short or damaged, once that is met.
    """
    if path.suffix.lower() == ".gz":
        with _unpacking(path), gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as packed:
            yield packed
    else:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as plain:
            yield plain


def check_whole(path: Path) -> None:
    """Read a ``.gz`` through. Errors: ``DataError`` for one that is cut short or damaged."""
    if path.suffix.lower() == ".gz":
        with _unpacking(path), gzip.open(path) as packed:
            while packed.read(_HEAD):
                pass


@contextmanager
def _unpacking(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = "cut short" if isinstance(error, EOFError) else "damaged"
        raise DataError(
            f"{path}: cannot be read (the file is {what}: {error}): fetch it again, or write it anew"
        ) from None


def _infer_rows(path: Path) -> int | None:
    return None if path.stat().st_size <= _INFER_ALL else _INFER_ROWS
