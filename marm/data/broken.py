"""Which row of a text file it was that could not be read: looked for only once reading has failed."""

import csv
import json
from pathlib import Path

from marm.data.formats import check_whole, format_of, open_text, separator

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
        rows, number = csv.reader(file, delimiter=separator(path)), 0
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
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if "\ufffd" in line:
                return f"row {number} {_NOT_UTF8}"
            try:
                json.loads(line or "{}")
            except ValueError as error:
                return f"row {number} is not JSON ({error})"
    return None
