"""Messages of one partition as frames, many at once; those that cannot be read come back one by one, with the reason."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
from polars.exceptions import PolarsError

from marm.data.payload import Row, Rows, arrow_frame, is_arrow, rows_of
from marm.data.salvage import salvage
from marm.data.trouble import show
from marm.errors import DataError, first_line

Refuse = Callable[[int, str], Any]
"""Called with the number of a message, and the reason."""
MESSAGE = "__message"


def frame_of(values: Sequence[bytes | None], refuse: Refuse) -> pl.DataFrame:
    """All rows of messages, in their order, with the number of the message that each stood in (``MESSAGE``)."""
    frame = _all_json(values)
    if frame is None:
        frame = _all_arrow(values, refuse) if all(map(is_arrow, values)) else _mixed(values, refuse)
    return frame


def as_numbers(frame: pl.DataFrame, names: Sequence[str], refuse: Refuse) -> pl.DataFrame:
    """Columns of numbers that some message gave as words: without those rows, if most of the column is numbers."""
    for name in names:
        if frame.schema.get(name) != pl.String:
            continue
        number = frame[name].cast(pl.Float64, strict=False)
        lost = (frame[name].is_not_null() & number.is_null()).to_numpy()
        if lost.sum() * 2 >= frame[name].count():
            continue
        for at in np.flatnonzero(lost).tolist():
            refuse(int(frame[MESSAGE][at]), f"{name} = {show(frame[name][at])}: give a number, as others do")
        frame = frame.with_columns(_whole(number).alias(name)).filter(pl.Series(~lost))
    return frame


def _whole(number: pl.Series) -> pl.Series:
    """As integers, if all are."""
    return number.cast(pl.Int64) if bool((number == number.round()).all()) else number


def _all_json(values: Sequence[bytes | None]) -> pl.DataFrame | None:
    """One parse for all, if each of them is one object on one line."""
    try:
        joined = b"\n".join(values)  # type: ignore[arg-type]
        if joined.count(b"\n") != len(values) - 1:
            return None
        frame = _parsed(joined)
    except (TypeError, DataError):
        return None
    return _numbered(frame, range(len(values))) if frame.height == len(values) else None


def _all_arrow(values: Sequence[bytes | None], refuse: Refuse) -> pl.DataFrame:
    frames = []
    for number, value in enumerate(values):
        found = arrow_frame(value or b"")
        if isinstance(found, str):
            refuse(number, found)
        else:
            frames.append(_numbered(found, [number] * found.height))
    try:
        return _together(frames)
    except PolarsError:
        # Columns of types that no other holds: row by row it is seen which message has the odd one.
        return _mixed(values, refuse)


def _mixed(values: Sequence[bytes | None], refuse: Refuse) -> pl.DataFrame:
    rows = rows_of(values)
    for number, reason in rows.bad:
        refuse(number, reason)
    kept, numbers = _of_one_kind(rows, refuse)
    return _together(salvage(
        len(kept),
        lambda begin, end: _numbered(_parsed(_dumped(kept[begin:end])), numbers[begin:end]),
        lambda at, reason: refuse(numbers[at], reason),
    ))  # fmt: skip


def _of_one_kind(rows: Rows, refuse: Refuse) -> tuple[list[Row], list[int]]:
    """Rows without those that hold a list or an object where others do not, or the other way round."""
    kinds: dict[str, Counter[type]] = {}
    for row in rows.row:
        for name, value in row.items():
            if value is not None:
                kinds.setdefault(name, Counter())[_kind(value)] += 1
    most = {name: found.most_common(1)[0][0] for name, found in kinds.items() if len(found) > 1}
    kept, numbers = [], []
    for row, number in zip(rows.row, rows.message, strict=True):
        odd = next((n for n, kind in most.items() if row.get(n) is not None and _kind(row[n]) is not kind), None)
        if odd is None:
            kept.append(row)
            numbers.append(number)
        else:
            refuse(number, f"{odd} = {show(row[odd])}: others have {most[odd].__name__} there")
    return kept, numbers


def _kind(value: object) -> type:
    return type(value) if isinstance(value, (list, dict)) else object


def _dumped(rows: list[Row]) -> bytes:
    try:
        return b"\n".join(map(orjson.dumps, rows))
    except TypeError as error:
        raise DataError(str(error)) from None


def _parsed(lines: bytes) -> pl.DataFrame:
    try:
        return pl.read_ndjson(lines, infer_schema_length=None)
    except PolarsError as error:
        raise DataError(first_line(error, "cannot be read")) from None
    except BaseException as error:
        # Some malformed numbers make the parser panic, which is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise DataError("cannot be read") from None


def _numbered(frame: pl.DataFrame, numbers: Sequence[int]) -> pl.DataFrame:
    return frame.with_columns(pl.Series(MESSAGE, numbers, dtype=pl.Int64))


def _together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame(schema={MESSAGE: pl.Int64})
    return pl.concat(frames, how="diagonal_relaxed")
