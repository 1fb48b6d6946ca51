"""Times of a log, whatever they are written as, in microseconds."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl

from marm.data.trouble import Chunk, TroubleError, where_remedy
from marm.types import F64, I64, Bool

Unit = Literal["s", "ms", "us", "ns", "datetime", "text"]
MICROS: dict[str, tuple[int, int]] = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}
"""What times in a unit are multiplied by, and then divided by, to be microseconds."""
# What can be read in one way only: no day before month, no month before day without AM or PM.
_FORMS = (
    "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M%z", "%Y-%m-%d %H:%M", "%Y-%m-%d",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S%z", "%d-%b-%Y %H:%M:%S", "%Y%m%dT%H%M%S%z", "%Y%m%dT%H%M%S",
)  # fmt: skip
_HOURS, _MINUTES = re.compile("%[-_0]?[HIkl]"), re.compile("%[-_0]?M|%[RTXrcs+]")
_OFFSET = re.compile(r"(?i)(?:Z|UTC|GMT|\d ?[+-]\d{2}:?\d{2})(?: \d{4})?\s*$")
"""At the end of a time in text that says how far it is from UTC, or before its year."""
_BELOW: dict[Unit, float] = {"s": 1e11, "ms": 1e14, "us": 1e17}
_FORMED = "text as "
_PLAUSIBLE = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Clock:
    """How a log writes times: numbers in a unit, datetimes, ISO text, or text in a form of its own."""

    column: str
    unit: Unit
    guessed: bool = False
    """The unit was told from the first value's magnitude."""
    form: str = ""
    """Of text that is not ISO: ``%d/%m/%Y %H:%M``, say."""
    offset: bool | None = None
    """Whether the first ISO text says how far it is from UTC, as all others must then; None: each as it is."""

    def says(self) -> str:
        """The unit in words, for messages and the manifest."""
        if self.form:
            return _FORMED + self.form
        words = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "text": "ISO text"}
        return words.get(self.unit, "datetimes")


def clock_named(column: str, words: str) -> Clock:
    """The clock that says this of itself."""
    if words.startswith(_FORMED):
        return Clock(column, "text", form=words.removeprefix(_FORMED))
    units: tuple[Unit, ...] = ("s", "ms", "us", "ns", "text", "datetime")
    return Clock(column, next(unit for unit in units if Clock(column, unit).says() == words))


def clock_of(first: pl.Series, setting: str, form: str | None = None) -> Clock:
    """How to read a time column, from its first value, ``data.time_unit`` and ``data.time_format``.

    Errors: a type that is no time, or that is read in no form.
    """
    column, dtype = first.name, first.dtype
    if form:
        if dtype == pl.String or dtype.is_integer():
            return Clock(column, "text", form=form)
        found = f"data.time_format: column {column} is a {dtype}"
        raise TroubleError("unparsable time", column, found, "it is for text and whole numbers; leave it out")
    if dtype in (pl.Datetime, pl.Date):
        return Clock(column, "datetime")
    number = first.cast(pl.Float64, strict=False) if dtype == pl.String else first
    if dtype == pl.String and not number.drop_nulls().len():
        return Clock(column, "text", offset=_offset_of(first))
    if not (dtype == pl.String or dtype.is_numeric()):
        remedy = "give numbers since 1970, datetimes, or text"
        raise TroubleError("unparsable time", column, f"data.time: column {column} is a {dtype}", remedy)
    if setting in MICROS:
        return Clock(column, setting)  # type: ignore[arg-type]
    size = abs(float(number[0])) if len(number) else 0.0
    return Clock(column, next((unit for unit, most in _BELOW.items() if size < most), "ns"), guessed=True)


def _offset_of(first: pl.Series) -> bool | None:
    read = first.filter(iso_micros(first).is_not_null()).head(1)
    return bool(_OFFSET.search(read[0])) if len(read) else None


def plausible(micros: int) -> bool:
    """Whether a log may be of that time: from 1990 to 2100."""
    low, high = (int(edge.timestamp()) * 1_000_000 for edge in _PLAUSIBLE)
    return low <= micros < high


def doubtful(clock: Clock, micros: int) -> str | None:
    """Why times that begin so are doubtful, unless ``data.time_unit`` says what they are; or nothing."""
    if plausible(micros) or (clock.unit in MICROS and not clock.guessed):
        return None
    remedy = "set data.time_unit" if clock.guessed else "leave such rows out with data.where"
    return f"column {clock.column} read as {clock.says()} begins at {iso(micros)}: {remedy} if that is wrong"


def iso(micros: int) -> str:
    """A time as ISO text to the second (UTC), or the number where the calendar does not reach."""
    try:
        return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{micros} us"


def to_micros(chunk: Chunk, clock: Clock) -> tuple[I64, Bool, list[TroubleError]]:
    """Times of a chunk (n,), which of them are good (n,), and what is wrong with the others."""
    series = chunk.frame[clock.column]
    missing = series.is_null() | series.is_nan() if series.dtype.is_float() else series.is_null()
    micros = _parse(series, clock)
    absent = missing.to_numpy()
    unread = micros.is_null().to_numpy() & ~absent
    other = _other_offset(series, micros, clock)
    values = micros.fill_null(0).to_numpy()
    negative = (values < 0) & (clock.unit != "datetime") & (clock.unit != "text")
    troubles = []
    if absent.any():
        troubles.append(chunk.trouble("null", clock.column, absent, "", where_remedy(clock.column, "IS NOT NULL")))
    if unread.any():
        says = f"is not {clock.says()}" if clock.form else f"is not a time in {clock.says()}"
        remedy = f"{_remedy(clock)}, or leave such rows out with data.where"
        troubles.append(chunk.trouble("unparsable time", clock.column, unread, says, remedy))
    if negative.any():
        remedy = where_remedy(clock.column, ">= 0")
        troubles.append(chunk.trouble("negative time", clock.column, negative, "is negative", remedy))
    if other.any():
        says = f"has {'no' if clock.offset else 'an'} offset from UTC, unlike the first time"
        remedy = "write all times with an offset from UTC, as +08:00, or all without"
        troubles.append(chunk.trouble("mixed offsets", clock.column, other, says, remedy))
    return values, ~(absent | unread | negative | other), troubles


def _other_offset(series: pl.Series, micros: pl.Series, clock: Clock) -> Bool:
    """Times (n,) that say an offset from UTC where the log's first does not, or the other way round."""
    if clock.offset is None:
        return np.zeros(len(series), bool)
    says = series.str.contains(_OFFSET.pattern)
    other: Bool = (micros.is_not_null() & (says != clock.offset)).fill_null(False).to_numpy()
    return other


def _remedy(clock: Clock) -> str:
    if clock.unit != "text":
        return "mend it"
    return "mend data.time_format" if clock.form else "say how it is written with data.time_format"


def _parse(series: pl.Series, clock: Clock) -> pl.Series:
    """Microseconds; null where the value is none, or beyond what 64 bits hold."""
    if clock.unit == "datetime":
        return series.cast(pl.Datetime("us", series.dtype.time_zone if isinstance(series.dtype, pl.Datetime) else None)
                           ).to_physical()  # fmt: skip
    if clock.form:
        return form_micros(series, clock.form)
    if clock.unit == "text":
        return iso_micros(series)
    by, over = MICROS[clock.unit]
    if series.dtype.is_integer() and series.dtype != pl.UInt64:
        whole = series.cast(pl.Int64, strict=False)
        limit = (2**63 - 1) // by
        inside = whole.is_between(-limit, limit)
        return pl.select(pl.when(inside).then(whole * by // over)).to_series()
    number = _scaled(series, by) / over
    good = np.abs(number) < 2.0**63
    return pl.select(pl.when(pl.Series(good)).then(pl.Series(np.rint(np.where(good, number, 0)).astype(np.int64)))
                     ).to_series()  # fmt: skip


def _scaled(series: pl.Series, by: int) -> F64:
    """Numbers times another (n,): null is NaN, and what is too large for it infinite."""
    with np.errstate(over="ignore"):
        number: F64 = series.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy() * by
    return number


def iso_micros(series: pl.Series) -> pl.Series:
    """Microseconds of ISO 8601 dates and times, with ``T`` or a space, with or without a zone (then UTC) or minutes.

    So are dates with slashes whose year comes first, ``11/15/2019 8:55:22 AM``, and what C and mail write of a time.
    """
    text = series.str.strip_chars().str.replace(r"^(\d{4})[-/](\d{1,2})[-/](\d{1,2})[Tt]?", "$1-$2-$3 ")
    text = text.str.replace(r"\s+", " ").str.strip_chars().str.replace(r"(?i) ?(?:Z|UTC|GMT)$", "+00:00")
    text = text.str.replace(r"^(\d{4}-\d+-\d+ \d{1,2})$", "$1:00")
    parsed = pl.Series("parsed", [None] * len(text), dtype=pl.Int64)
    for form in _FORMS:
        if parsed.null_count() == text.null_count():
            break
        more = text.str.to_datetime(form, time_unit="us", strict=False).to_physical()
        parsed = parsed.fill_null(more) if parsed.null_count() < len(parsed) else more
    return parsed


def form_micros(series: pl.Series, form: str) -> pl.Series:
    """Microseconds of times written in one form (as of strftime; UTC where it has no zone); null where they are not."""
    text = series.cast(pl.String).str.strip_chars()
    if _HOURS.search(form) and not _MINUTES.search(form):
        # Polars reads no hour without minutes.
        text, form = text + " 00", form + " %M"
    return text.str.to_datetime(form, time_unit="us", strict=False).to_physical()


def in_form(micros: int, form: str) -> str:
    """A time as text in a form, as finely as the form says it."""
    return str(pl.Series([micros]).cast(pl.Datetime("us", "UTC")).dt.strftime(form)[0])


def seconds_to_micros(chunk: Chunk, delay: float | str) -> I64:
    """Feedback delay of each row (n,): a number of seconds, or a column of them. Errors: null or negative rows."""
    if not isinstance(delay, str):
        return np.full(len(chunk.row), round(delay * 1_000_000), np.int64)
    series = chunk.frame[delay]
    if series.dtype == pl.Duration:
        number: F64 = series.dt.total_microseconds().cast(pl.Float64).fill_null(np.nan).to_numpy()
    else:
        number = _scaled(series, 1_000_000)
    bad = ~((number >= 0) & (number < 2.0**62))
    if bad.any():
        remedy = "give seconds from 0 on in every row, or a number for data.feedback_delay"
        raise chunk.trouble("feedback delay", delay, bad, "is no delay", remedy)
    return np.rint(number).astype(np.int64)
