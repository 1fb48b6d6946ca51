"""Ids as numbers: a stable 64-bit hash of what an id reads as text, so that 7, 7.0 and "7" are one id."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numba import njit

from marm.errors import DataError
from marm.mix import GOLDEN, mix
from marm.types import I64, U8, U64

_EXACT = 2.0**53


def hash_text(series: pl.Series, salt: int = 0) -> U64:
    """Hash each entry's text (n,); null is 0, and nothing else is. Errors: ``DataError`` for nested columns."""
    text = as_text(series)
    missing = text.is_null().to_numpy()
    lengths = text.str.len_bytes().fill_null(0).to_numpy()
    ends = np.cumsum(lengths, dtype=np.int64)
    joined = text.fill_null("").str.join("")
    data = np.frombuffer((joined[0] or "").encode() if len(joined) else b"", np.uint8)
    return _hash_spans(data, ends, missing, np.uint64(salt))


def hash_texts(texts: Sequence[str], salt: int = 0) -> U64:
    """The same of texts in a list, none of them missing; for requests, where a column costs more than the hashing."""
    joined = "".join(texts)
    data = joined.encode()
    ascii_ = len(data) == len(joined)
    lengths = np.fromiter((len(text) if ascii_ else len(text.encode()) for text in texts), np.int64, len(texts))
    ends = np.cumsum(lengths)
    return _hash_spans(np.frombuffer(data, np.uint8), ends, np.zeros(len(texts), bool), np.uint64(salt))


def hash_feature(name: str, series: pl.Series) -> U64:
    """Hash values of one feature (n,): the same value of another feature is another number."""
    return hash_text(series, salt_of(name))


def salt_of(name: str) -> int:
    """The number that sets a feature's values apart from those of other features."""
    return int(hash_text(pl.Series([name], dtype=pl.String))[0])


def as_text(series: pl.Series) -> pl.Series:
    """Entries as the text that ids compare by; whole floats and decimals read as integers, NaN is null."""
    dtype = series.dtype
    if dtype == pl.String:
        return series
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration):
        raise DataError(f"column {series.name} is a {dtype}, an id is text or a number: cast it first")
    if dtype.is_decimal() or dtype.is_float():
        return _float_text(series)
    return series.cast(pl.String)


def _float_text(series: pl.Series) -> pl.Series:
    number = series.cast(pl.Float64).fill_nan(None)
    whole = (number == number.floor()) & (number.abs() < _EXACT)
    if whole.all():
        return number.cast(pl.Int64).cast(pl.String)
    frame = pl.DataFrame({"number": number, "whole": whole})
    integer = pl.when("whole").then("number").cast(pl.Int64).cast(pl.String)
    return frame.select(pl.coalesce(integer, pl.col("number").cast(pl.String))).to_series()


@njit(cache=True, nogil=True)
def mix_all(ids: U64) -> U64:
    """Numbers that look unrelated to these (n,)."""
    out = np.empty_like(ids)
    for i in range(len(ids)):
        out[i] = mix(ids[i])
    return out


@njit(cache=True, nogil=True)
def _hash_spans(data: U8, ends: I64, missing: np.ndarray, salt: np.uint64) -> U64:
    out = np.zeros(len(ends), np.uint64)
    begin = 0
    for i in range(len(ends)):
        end = ends[i]
        if not missing[i]:
            state = mix(salt + GOLDEN * np.uint64(end - begin + 1))
            while begin < end:
                word = np.uint64(0)
                stop = min(begin + 8, end)
                for at in range(begin, stop):
                    word = (word << np.uint64(8)) | np.uint64(data[at])
                state = mix((state + GOLDEN) ^ word)
                begin = stop
            out[i] = state if state != 0 else np.uint64(1)
        begin = end
    return out
