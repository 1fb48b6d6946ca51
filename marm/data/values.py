"""Single values from JSON as the stream has columns of them; no frame is made for one."""

import math
from typing import Any

import numpy as np
import polars as pl

from marm.data.columns import How, parts_of
from marm.data.events import Column, Tags, absent
from marm.data.ids import as_text, hash_texts, salt_of
from marm.errors import DataError
from marm.types import U64


def text_of(value: Any) -> str:
    """What an id or a category reads as: 7, 7.0 and "7" are one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(as_text(pl.Series([value]))[0])


def whole_of(value: Any) -> Any:
    """The whole number that text reads as, if there is one and JSON can hold it; else the value itself."""
    if type(value) is not str:
        return value
    digits = value.removeprefix("-")
    return int(value) if digits.isdecimal() and len(digits) < 19 and str(int(value)) == value else value


def hashes_of(ids: list[Any]) -> U64:
    """Hashed ids (n,)."""
    return hash_texts([one if type(one) is str else text_of(one) for one in ids])


class Converter:
    """One value of a feature as a column of one entry. Errors: ``DataError``."""

    def __init__(self, name: str, how: How) -> None:
        self.name, self.kind, self.width, self._separator = name, how.kind, how.width, how.separator
        self._salt = salt_of(name)

    def __call__(self, value: Any) -> Column:
        """The column; None is missing."""
        if value is None:
            return absent(self.kind, 1, self.width)
        match self.kind:
            case "category":
                if isinstance(value, list):
                    raise self._wrong(value, "give text or a number")
                return hash_texts([text_of(value)], self._salt)
            case "tags":
                parts = value if isinstance(value, list) else parts_of(text_of(value), self._separator)
                if any(isinstance(part, list) for part in parts):
                    raise self._wrong(value, "give a list of text or numbers")
                tags = hash_texts([text_of(part) for part in parts if part is not None], self._salt)
                return Tags(tags, np.array([0, len(tags)]))
            case "number":
                return np.array([self._number(value)], np.float32)
        if not isinstance(value, list) or len(value) != self.width:
            raise self._wrong(value, f"give a list of {self.width} numbers")
        return np.array([[self._number(part) for part in value]], np.float32)

    def _number(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise self._wrong(value, "give a number") from None
        return number if math.isfinite(number) and abs(number) < 3e38 else math.nan

    def _wrong(self, value: Any, remedy: str) -> DataError:
        return DataError(f"{self.name} = {str(value)[:60]!r} is no {self.kind}: {remedy}")
