"""Columns of a log or side file as features: ids hashed, numbers in float32, lists ragged."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marm.data.ids import hash_feature, hash_text, salt_of
from marm.data.trouble import Chunk, TroubleError
from marm.types import F64

_IN_BRACKETS = r"^\s*\[(.*)\]\s*$"
_BARE = r"^\s*(?:'(.*)'|\"(.*)\"|(.*?))\s*$"
"""A tag: what is between quotes that stand on both sides, or all of it."""


@dataclass(frozen=True)
class How:
    """How a feature's column is read."""

    kind: str
    width: int = 1
    """Of a vector."""
    separator: str = "|"
    """What parts tags that are text."""


def convert(chunk: Chunk, name: str, how: How) -> pl.Series:
    """A feature's column in the stream's own type. Errors: the first bad row."""
    match how.kind:
        case "category":
            return _category(chunk, name)
        case "tags":
            return _tags(chunk, name, how.separator)
        case "number":
            number = as_number(chunk, name, 'mend it, or use kind = "category"')
            return pl.Series(name, number.astype(np.float32))
    return _vector(chunk, name, how.width)


def vector_width(first: pl.Series) -> int:
    """Width of a vector column, from its first value that is not null. Errors: a column without lists of numbers."""
    dtype = first.dtype
    if isinstance(dtype, pl.Array):
        return int(dtype.size)
    if not isinstance(dtype, pl.List) or not len(first):
        found = f"column {first.name} is {dtype if len(first) else 'null on every row'}"
        raise TroubleError("type", first.name, found, 'kind = "vector" takes lists of numbers of one length')
    width = len(first[0])
    if not width:
        found = f"column {first.name} begins with an empty list"
        raise TroubleError("type", first.name, found, "give lists of one length, or null")
    return width


def as_number(chunk: Chunk, name: str, remedy: str) -> F64:
    """A column as float64 (n,); null and infinite are NaN. Errors: text that is no number, with its remedy."""
    series = chunk.frame[name]
    if series.dtype.is_temporal() or series.dtype.is_nested():
        raise TroubleError("type", name, f"column {name} is a {series.dtype}", "give a column of numbers")
    number = series.cast(pl.Float64, strict=False)
    lost = number.is_null() & series.is_not_null()
    if lost.any():
        raise chunk.trouble("type", name, lost, "is not a number", remedy)
    out: F64 = number.fill_null(np.nan).to_numpy()
    return out if np.isfinite(out).all() else np.where(np.isinf(out), np.nan, out)


def _category(chunk: Chunk, name: str) -> pl.Series:
    series = chunk.frame[name]
    if series.dtype.is_nested():
        raise TroubleError("type", name, f"column {name} is a {series.dtype}", 'set its kind to "tags" or "vector"')
    return pl.Series(name, hash_feature(name, series))


def parted(text: pl.Series, separator: str) -> pl.Series:
    """Texts that are lists as lists: brackets around them, quotes and spaces around a tag, and empty tags are left out."""
    tag = pl.element().str.replace(_BARE, "$1$2$3")
    return text.str.replace(_IN_BRACKETS, "$1").str.split(separator).list.eval(tag.filter(tag != ""))


def parts_of(text: str, separator: str) -> list[str]:
    """One text as ``parted`` has it."""
    parts = re.sub(_IN_BRACKETS, r"\1", text).split(separator)
    return [tag for tag in (re.sub(_BARE, r"\1\2\3", part) for part in parts) if tag]


def _tags(chunk: Chunk, name: str, separator: str) -> pl.Series:
    """Lists of hashes: nulls and empty tags go, a null list is an empty one."""
    series = chunk.frame[name]
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    if not isinstance(series.dtype, pl.List):
        series = parted(series.cast(pl.String), separator)
    if series.dtype.inner.is_nested():  # type: ignore[attr-defined]
        raise TroubleError("type", name, f"column {name} is a {series.dtype}", "tags are a list of text or numbers")
    salt = salt_of(name)
    lists = series.fill_null([]).list.drop_nulls()
    hashed = pl.element().map_batches(
        lambda values: pl.Series(hash_text(values, salt)), return_dtype=pl.UInt64, is_elementwise=True
    )
    return lists.list.eval(hashed).cast(pl.List(pl.UInt64)).rename(name)


def _vector(chunk: Chunk, name: str, width: int) -> pl.Series:
    """Fixed-width float32; a null vector is zeros."""
    series = chunk.frame[name]
    lists = series.arr.to_list() if isinstance(series.dtype, pl.Array) else series
    if not isinstance(lists.dtype, pl.List) or not lists.dtype.inner.is_numeric():
        raise TroubleError("type", name, f"column {name} is a {series.dtype}", "a vector is a list of numbers")
    ragged = (lists.list.len() != width).fill_null(False)
    if ragged.any():
        raise chunk.trouble("vector", name, ragged, f"is not {width} wide like the first", "give all one width")
    try:
        numbers = lists.cast(pl.List(pl.Float32))
    except PolarsError as error:
        raise TroubleError("type", name, f"column {name} is a {series.dtype} ({error})", "give floats") from None
    flat = numbers.explode(empty_as_null=False, keep_nulls=False).fill_null(np.nan).to_numpy()
    given = series.is_not_null().to_numpy()
    out = np.zeros((len(series), width), np.float32)
    out[given] = flat.reshape(-1, width)
    bad = np.atleast_1d(~np.isfinite(out).all(axis=1))
    if bad.any():
        raise chunk.trouble("vector", name, bad, "holds null, NaN or infinity", "give finite numbers")
    return pl.Series(name, out)
