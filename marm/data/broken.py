"""Which row of a text file it was that could not be read: looked for only once reading has failed."""

import csv
import json
from math import isfinite
from pathlib import Path

from marm.data.formats import check_whole, format_of, open_text, separator
from marm.data.trouble import show

_KINDS = {list: "a list", dict: "an object", object: "a single value"}
_NOT_UTF8 = "is not UTF-8: `iconv -f LATIN1 -t UTF-8 FILE > NEW` if it is Latin-1"


def broken_row(path: Path) -> str | None:
    """The first row (1-based, of the data) that is not CSV or JSON, and why; nothing if all rows look well.

    Errors: ``DataError`` for a ``.gz`` that is cut short or damaged, whose rows say nothing.
    """
    check_whole(path)
    match format_of(path):
        case "csv":
            return _broken_csv(path)
        case "ndjson":
            return _broken_json(path)
    return None


def _broken_csv(path: Path) -> str | None:
    with open_text(path) as file:
        rows, number = csv.reader(file, delimiter=separator(path), strict=True), 0
        try:
            width = len(next(rows, []))
            for number, row in enumerate(rows, 1):
                if len(row) > width:
                    return f"row {number} has {len(row)} fields, the header {width}"
                if any("\ufffd" in field for field in row):
                    return f"row {number} {_NOT_UTF8}"
        except csv.Error as error:
            return f"row {number + 1} is not CSV ({error})"
    return None


def _broken_json(path: Path) -> str | None:
    kinds: dict[str, type] = {}
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if "\ufffd" in line:
                return f"row {number} {_NOT_UTF8}"
            try:
                row = json.loads(
                    line if line.strip() else "{}", parse_constant=_refused, parse_float=_real, parse_int=_whole
                )
            except ValueError as error:
                return f"row {number} is not JSON ({error})"
            if not isinstance(row, dict):
                return f"row {number} is {show(row)}, not an object"
            for name, value in row.items():
                if value is not None and kinds.setdefault(name, _kind(value)) is not _kind(value):
                    return f"row {number} has {show(value)} as {name}, which is {_KINDS[kinds[name]]} before"
    return None


def _kind(value: object) -> type:
    return type(value) if isinstance(value, (list, dict)) else object


def _refused(text: str) -> float:
    raise ValueError(f"{text[:40]} is no number of JSON")


def _real(text: str) -> float:
    return float(text) if isfinite(float(text)) else _refused(text)


def _whole(text: str) -> int | float:
    return int(text) if -(2**63) <= int(text) < 2**64 else _refused(text)
