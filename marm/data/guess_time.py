"""Guesses at which column holds times, and at the form in which text writes them."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from marm.data.look import Look, words
from marm.data.times import MICROS, Clock, clock_of, doubtful, form_micros, iso, iso_micros, plausible, to_micros
from marm.data.trouble import Chunk, Places, TroubleError

KEY = ("id", "code", "key", "index", "idx")
_TIME = ("timestamp", "time", "date", "datetime", "at", "unix", "epoch", "when", "dat", "dt", "day")
_SPENT = frozenset((
    "watch", "play", "reading", "stay", "read", "spent", "dwell", "session", "duration", "listen", "view", "next", "response",
))  # fmt: skip
_PAST = frozenset(("start", "created", "updated", "birth", "upload", "first", "last"))
_TRIED = 1000
_CROWD = 20
_READ = 0.9
"""Share of the values that must be times in a form."""
_DAYS = "%Y%m%d"
_DIGITS = {
    8: (_DAYS, "%y%m%d%H"),
    10: ("%Y%m%d%H",),
    12: ("%Y%m%d%H%M",),
    14: ("%Y%m%d%H%M%S",),
    17: ("%Y%m%d%H%M%S%3f",),
}
"""Forms of nothing but digits, by how many there are."""
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
_DATE = r"^\s*(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d{2})(?:\s|$)"
_LAST_MONTH = 12


@dataclass(frozen=True)
class Form:
    """How text, or whole days, write times."""

    form: str
    doubt: str | None = None
    """Why it may be another."""


def form_of(series: pl.Series) -> Form | None:
    """The form of a column's times, where they are neither ISO text nor numbers since 1970."""
    values = series.drop_nulls()
    if not len(values):
        return None
    if values.dtype.is_integer():
        return _of_digits(values.cast(pl.String))
    if values.dtype != pl.String:
        return None
    if values.str.contains(r"^\d+$").all():
        return _of_digits(values)
    return None if _share(iso_micros(values.head(_TRIED))) >= _READ else _slashed(values)


def _of_digits(text: pl.Series) -> Form | None:
    """The form of dates without any mark: every value has as many digits, and is a date, in one of them."""
    lengths = text.str.len_chars().unique()
    for form in _DIGITS.get(lengths[0], ()) if len(lengths) == 1 else ():
        micros = form_micros(text, form)
        if not micros.null_count() and plausible(micros.min()) and plausible(micros.max()):  # type: ignore[arg-type]
            return Form(form)
    return None


def _slashed(text: pl.Series) -> Form | None:
    """The form of dates whose year comes last: what stands first, day or month, by what no month can be."""
    frame = text.to_frame("text")
    parts = frame.select(
        one=pl.col("text").str.extract(_DATE, 1).cast(pl.Int32),
        mark=pl.col("text").str.extract(_DATE, 2),
        two=pl.col("text").str.extract(_DATE, 3).cast(pl.Int32),
        year=pl.col("text").str.extract(_DATE, 4).str.len_chars(),
    ).drop_nulls()
    if parts.height < _READ * len(text) or parts["mark"].n_unique() > 1 or parts["year"].n_unique() > 1:
        return None
    mark, year = parts["mark"][0], "%Y" if parts["year"][0] == len("2020") else "%y"
    if mark == "-" and year == "%y":
        return None  # The year may stand first as well.
    days_first, months_first = (mark.join((*order, year)) for order in (("%d", "%m"), ("%m", "%d")))
    (day, days), (month, months) = (_best_clock(text, date) for date in (days_first, months_first))
    if max(days, months) < _READ:
        return None
    if (parts["one"] > _LAST_MONTH).any() or (parts["two"] > _LAST_MONTH).any():
        return Form(day if days >= months else month)
    falls = [int((form_micros(text, form).drop_nulls().diff() < 0).sum()) for form in (day, month)]
    taken = (day, month)[int(falls[1] < falls[0])]
    return Form(taken, f"{text.name} could begin with the day or the month: read as {taken}")


def _best_clock(text: pl.Series, date: str) -> tuple[str, float]:
    """The form that reads most of the texts, of those that begin with a date; and the share that it reads."""
    tried = text.head(_TRIED)
    form = max((date + clock for clock in _CLOCKS), key=lambda form: _share(form_micros(tried, form)))
    return form, _share(form_micros(text, form))


def _share(micros: pl.Series) -> float:
    return 1 - micros.null_count() / max(len(micros), 1)


def clock_guessed(series: pl.Series) -> Clock:
    """How a column's times are read. Errors: ``TroubleError`` where it cannot hold any."""
    form = form_of(series)
    return clock_of(series.drop_nulls().head(1), "auto", form.form if form else None)


def micros_of(series: pl.Series) -> pl.Series | None:
    """Microseconds of times; nothing where they cannot be told."""
    chunk = Chunk(series.to_frame(), np.arange(len(series)), Places(["log"], [0]))
    try:
        values, good, _ = to_micros(chunk, clock_guessed(series))
    except TroubleError:
        return None
    return pl.Series(values[good])


def time_score(look: Look, name: str) -> float:
    """How much a column looks like the time of an exposure: a plausible date, named so, rising."""
    series = look.sample[name].drop_nulls()
    parts = words(name)
    if not len(series) or (set(KEY) & set(parts) and not look.log.schema[name].is_temporal()):
        return 0.0
    try:
        clock = clock_of(series.head(1), "auto")
    except TroubleError:
        return 0.0
    named = max((len(_TIME) - at for at, word in enumerate(_TIME) if word in parts), default=0)
    form = form_of(series)
    if form and form.form == _DAYS:
        return 0.3 if named and not _PAST & set(parts) else 0.0
    if not form and clock.guessed and _implausible(series):
        counted = {"timestamp", "time", "unix", "epoch"} & set(parts) and not _SPENT & set(parts)
        return 0.1 if counted and series.n_unique() > _CROWD else 0.0
    if not form and clock.unit == "text" and _share(iso_micros(series.cast(pl.String).head(_TRIED))) < _READ:
        return 0.5 if named else 0.0
    rising = _rises(form_micros(series, form.form) if form else series)
    fine = min(1.0, 4 * series.n_unique() / len(series))
    score = 1.0 + 0.2 * named + 2.0 * rising + fine + 2.0 * (series.dtype == pl.Datetime)
    return max(0.2, score - 4.0 * bool(_PAST & set(parts)) - 4.0 * look.missing(name))


def _rises(series: pl.Series) -> bool:
    return series.dtype != pl.Categorical and series.is_sorted()


def _implausible(series: pl.Series) -> bool:
    """Whether numbers cannot be times of this age: before 1990 or after 2100, at the first or any other row."""
    number = series.cast(pl.Float64, strict=False).drop_nulls()
    if len(number) < len(series) or not len(number):
        return True
    clock = clock_of(pl.Series(series.name, [number[0]]), "auto")
    by, over = MICROS[clock.unit]
    edges = (float(number[0]), float(number.min() or 0), float(number.max() or 0))  # type: ignore[arg-type]
    micros = [edge * by / over for edge in edges]
    if not all(map(math.isfinite, micros)):
        return True
    return any(doubtful(clock, int(edge)) is not None for edge in micros) or not iso(int(micros[0]))
