"""Guesses at what a log's columns mean, from names and values; each is written down as a guess."""

from dataclasses import dataclass, field

import polars as pl

from marm.data.ids import as_text
from marm.data.look import Look, words
from marm.data.times import clock_of, doubtful, iso
from marm.data.trouble import TroubleError, sql_name
from marm.errors import DataError

_USER = ("user", "customer", "member", "visitor", "account", "client", "reviewer", "person", "player", "reader")
_ITEM = (
    "item", "movie", "video", "product", "article", "sku", "stock", "track", "song", "book", "news", "asin", "goods",
    "content", "photo", "post", "ad", "listing", "business", "doc", "document", "game", "recipe", "hotel", "artist",
)  # fmt: skip
_KEY = ("id", "code", "key", "index", "idx")
_SHOWN = ("inview", "impression", "target", "candidate", "shown", "exposed")
_TIME = ("timestamp", "time", "date", "datetime", "at", "unix", "epoch", "when")
_OUTCOME = frozenset((
    "click", "clicked", "clicks", "like", "liked", "follow", "followed", "comment", "commented", "forward", "forwarded",
    "share", "shared", "buy", "bought", "purchase", "purchased", "order", "ordered", "cart", "fav", "favorite",
    "favourite", "favorited", "view", "viewed", "watched", "played", "hate", "dislike", "label", "target", "finish",
    "finished", "skip", "skipped", "convert", "converted", "conversion", "install", "download", "save", "saved",
    "response", "feedback", "reward", "positive", "valid", "read", "completed", "upvoted",
))  # fmt: skip
_RATING = frozenset(("rating", "ratings", "stars", "star", "score", "overall"))
_KIND = frozenset(("behavior", "behaviour", "event", "action", "feedback", "interaction", "activity"))
_WATCH = frozenset(("watch", "play", "playing", "listen", "listened", "view", "dwell", "played", "watched"))
_LENGTH = frozenset(("duration", "length", "runtime"))
_MOST_KINDS = 12


@dataclass(frozen=True)
class Task:
    """A guessed task: its settings, and why."""

    settings: dict[str, object]
    reason: str


@dataclass
class Guess:
    """Roles of a log's columns."""

    user: str
    item: str
    time: str
    where: str | None = None
    delay: float | str = 0.0
    tasks: dict[str, Task] = field(default_factory=dict)
    every_row: bool = False


def guess_roles(look: Look) -> Guess:
    """Who, what, when and which outcomes. Errors: ``DataError`` where nothing looks like one of the first three."""
    time = _best(look, "time", {name: _time_score(look, name) for name in look.log.schema})
    scores = {name: _id_score(look, name, _USER) for name in look.log.schema if name != time}
    user = _best(look, "user", scores)
    scores = {name: _id_score(look, name, _ITEM) for name in look.log.schema if name not in (time, user)}
    item = _best(look, "item", scores)
    guess = Guess(user, item, time)
    holes = [column for column in (user, item, time) if look.nulls[column]]
    guess.where = " AND ".join(f"{sql_name(column)} IS NOT NULL" for column in holes) or None
    _add_tasks(look, guess, {user, item, time})
    return guess


def _best(look: Look, role: str, scores: dict[str, float]) -> str:
    name = max(scores, key=lambda column: scores[column], default="")
    if not name or scores[name] <= 0:
        columns = ", ".join(look.log.schema)
        raise DataError(
            f"{look.log.name}: no column looks like the {role} among {columns}: rename it to {role}_id or timestamp, "
            "or write the run file by hand"
        )
    return name


def _id_score(look: Look, column: str, wanted: tuple[str, ...]) -> float:
    """How much a column looks like an id of one kind: named so, a key, and with repeats."""
    dtype, parts = look.log.schema[column], words(column)
    if not (dtype.is_integer() or dtype in (pl.String, pl.Categorical)):
        return 0.0
    joined = "".join(parts)
    named = [at for at, word in enumerate(wanted) if word in parts or joined in (word + "id", word + "code")]
    if not named or column in look.ones:
        return 0.0
    key = any(part in _KEY for part in parts) or joined.endswith("id")
    plain = len(parts) <= 2
    shown = any(part in _SHOWN for part in parts)
    return 5.0 + 3.0 * key + plain + 2.0 * shown - 0.05 * named[0] - 4.0 * look.nulls[column] / max(look.rows, 1)


def _time_score(look: Look, column: str) -> float:
    """How much a column looks like the time of an exposure: a plausible date, named so, rising."""
    series = look.sample[column].drop_nulls()
    try:
        clock = clock_of(series.head(1), "auto")
    except TroubleError:
        return 0.0
    named = max((len(_TIME) - at for at, word in enumerate(_TIME) if word in words(column)), default=0)
    if not len(series) or (clock.guessed and _implausible(series)):
        return 0.0
    if clock.unit == "text" and not named:
        return 0.0
    rising = series.is_sorted()
    fine = min(1.0, 4 * series.n_unique() / len(series))
    past = any(word in ("start", "created", "updated", "birth", "upload", "first", "last") for word in words(column))
    return 1.0 + 0.3 * named + 2.0 * rising + fine + 2.0 * (clock.unit == "datetime") - 4.0 * past


def _implausible(series: pl.Series) -> bool:
    """Whether numbers cannot be times of this age: before 1990 or after 2100, at the first or any other row."""
    number = series.cast(pl.Float64, strict=False).drop_nulls()
    if len(number) < len(series) or not len(number):
        return True
    clock = clock_of(pl.Series(series.name, [number[0]]), "auto")
    factor = {"s": 1e6, "ms": 1e3}.get(clock.unit, 1.0)
    edges = (float(number[0]), float(number.min() or 0), float(number.max() or 0))  # type: ignore[arg-type]
    return any(doubtful(clock, int(edge * factor)) is not None for edge in edges) or not iso(int(edges[0] * factor))


def _add_tasks(look: Look, guess: Guess, taken: set[str]) -> None:
    free = [name for name in look.log.schema if name not in taken]
    for column in free:
        named = [word for word in words(column) if word in _OUTCOME]
        if column in look.ones and named and 0 < look.ones[column] < look.rows - look.nulls[column]:
            name = _task_name(column)
            guess.tasks[name] = Task({"column": column}, "a column of 0 and 1 that is named like an outcome")
        elif _RATING & set(words(column)) and look.numeric(column) and column not in look.ones:
            _add_rating(look, guess, column)
        elif _KIND & set(words(column)):
            _add_kinds(look, guess, column)
    _add_watch(look, guess, free)
    if not any(task.settings.get("kind") != "regression" for task in guess.tasks.values()):
        guess.every_row = not guess.tasks
        if guess.every_row:
            name = "click" if any("click" in words(column) for column in look.log.schema) else "event"
            guess.tasks[name] = Task(
                {"every_row": True}, "no outcome found: each row is a positive, negatives are drawn"
            )


def _task_name(column: str) -> str:
    parts = [word for word in words(column) if word not in ("is", "has", "flag")]
    return "_".join(parts)


def _add_rating(look: Look, guess: Guess, column: str) -> None:
    values = look.sample[column].drop_nulls()
    top = float(values.max() or 0)  # type: ignore[arg-type]
    if values.n_unique() > 100 or not 2 <= top <= 100:
        return
    bar = 4 if top <= 5 else round(0.8 * top)
    if 0 < (values >= bar).sum() < len(values):
        guess.tasks["like"] = Task(
            {"column": column, "at_least": bar}, f"a rating up to {top:g}: the best are positive"
        )


def _add_kinds(look: Look, guess: Guess, column: str) -> None:
    """One task for each value of a column of kinds of behaviour."""
    dtype = look.log.schema[column]
    values = look.sample[column].drop_nulls()
    if not (dtype.is_integer() or dtype in (pl.String, pl.Categorical)) or not 2 <= values.n_unique() <= _MOST_KINDS:
        return
    for value in as_text(values.unique()).sort():
        name = "_".join(words(value)) if not value.isdigit() else "_".join([*words(column), value])
        typed = int(value) if dtype.is_integer() else value
        guess.tasks[name or "other"] = Task({"column": column, "equals": typed}, "one task for each kind of behaviour")


def _add_watch(look: Look, guess: Guess, free: list[str]) -> None:
    """Watch time, as a share of the duration where both are there; the outcome is known once it was watched."""
    numbers = [name for name in free if look.numeric(name) and name not in look.ones]
    lengths = [name for name in numbers if _LENGTH & set(words(name)) and not _WATCH & set(words(name))]
    watched = [
        name
        for name in numbers
        if _WATCH & set(words(name)) and {"time", "duration", "ms", "sec", "seconds"} & set(words(name))
    ]
    ratios = [name for name in numbers if _WATCH & set(words(name)) and {"ratio", "share", "rate"} & set(words(name))]
    if watched and lengths:
        settings: dict[str, object] = {"column": watched[0], "divide_by": lengths[0]}
        guess.tasks["watch_ratio"] = Task({**settings, "kind": "regression"}, "share of the duration that was watched")
        _add_long_watch(look, guess, settings)
    elif ratios:
        guess.tasks["watch_ratio"] = Task({"column": ratios[0], "kind": "regression"}, "share that was watched")
    if watched:
        guess.delay = _delay(look, watched[0])


def _add_long_watch(look: Look, guess: Guess, settings: dict[str, object]) -> None:
    """Where nothing else is binary: watched nearly to the end."""
    if any(task.settings.get("kind") != "regression" for task in guess.tasks.values()):
        return
    ratio = look.sample[str(settings["column"])] / look.sample[str(settings["divide_by"])]
    long = (ratio >= 0.8).drop_nulls()
    if 0 < long.sum() < len(long):
        guess.tasks["long_watch"] = Task({**settings, "at_least": 0.8}, "watched nearly to the end")


def _delay(look: Look, column: str) -> float | str:
    """Seconds after which nearly every outcome is known; the column itself where it is in seconds and whole."""
    values = look.sample[column].drop_nulls()
    high = float(values.quantile(0.99) or 0)
    if "ms" in words(column):
        return float(-(-high // 1000))
    whole = look.nulls[column] == 0 and float(values.min() or 0) >= 0  # type: ignore[arg-type]
    return column if whole and high < 86_400 else 0.0
