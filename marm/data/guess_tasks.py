"""Guesses at what came of an exposure: which columns are outcomes, and when they are known."""

import math
from dataclasses import dataclass, field

import polars as pl

from marm.config import MOST_CODES, TaskConfig
from marm.data.guess_words import SHOWN, is_negative, kind_order, outcome_words, standing
from marm.data.ids import as_text
from marm.data.look import Look, is_text, words

_QUALIFIES = frozenset(("verified", "early", "non", "prior", "previous", "before", "next", "can", "allow", "enabled"))
_RATING = frozenset(("rating", "ratings", "stars", "star", "score", "overall"))
_KIND = frozenset((
    "behavior", "behaviour", "behaviors", "behaviours", "event", "action", "feedback", "interaction", "activity", "btag",
))  # fmt: skip
_OF_KIND = frozenset(("type", "name", "kind", "class"))
_WATCH = frozenset(("watch", "play", "playing", "listen", "listened", "view", "dwell", "played", "watched"))
_TIMED = frozenset(("time", "duration", "ms", "sec", "seconds", "length"))
_LENGTH = frozenset(("duration", "length", "runtime"))
_SHARE = frozenset(("ratio", "share", "rate", "pct", "percent", "percentage", "fraction"))
_TOTAL = frozenset(("count", "counts", "cnt", "n", "num", "total", "sum", "id", "code", "name", "type", "day", "date"))
_PLACE = frozenset(("order", "target", "label", "valid", "position", "index"))
_YES = frozenset(("yes", "y", "true", "t", "1", "1.0", "positive", "clicked", "liked"))
_MOST_KINDS = 12
_MOST_SPOILS = 3
"""Texts that stand for nothing in a column of numbers."""
_LONG = 0.8
_DAY = 86_400
_LONG_SECONDS = 600


@dataclass(frozen=True)
class Task:
    """A guessed task: its settings, and why."""

    settings: dict[str, object]
    reason: str


@dataclass
class Tasks:
    """Tasks as they are found, and what a person should look at."""

    tasks: dict[str, Task] = field(default_factory=dict)
    every_row: bool = False
    """Whether each row is a positive."""
    score: str | None = None
    """What the final order is by, where the first task is nothing to wish for."""
    unsure: list[str] = field(default_factory=list)

    def add(self, name: str, settings: dict[str, object], reason: str) -> None:
        """A task under a name that is not taken."""
        while name in self.tasks:
            name += "_2"
        self.tasks[name] = Task(settings, reason)

    def binary(self) -> list[str]:
        """Tasks that tell some exposures from others."""
        return [name for name, task in self.tasks.items() if task.settings.get("kind") != "regression"]

    def good(self) -> list[str]:
        """Tasks that tell good exposures from others."""
        return [name for name in self.binary() if not is_negative(name)]


def guess_tasks(look: Look, taken: set[str]) -> Tasks:
    """Tasks of columns that are not taken, the most telling first."""
    found = Tasks()
    free = [name for name in look.log.schema if name not in taken]
    for column in free:
        if column in look.ones:
            _add_flag(look, found, column)
        elif _RATING & set(words(column)) and look.numeric(column):
            _add_rating(look, found, column)
        elif _is_kind(look, column):
            _add_kinds(look, found, column)
        else:
            _add_named(look, found, column)
    _add_watch(look, found, free)
    read = {task.settings["column"] for task in found.tasks.values()}
    found.unsure += [doubt for column in free if column not in read and (doubt := _spoiled(look, column))]
    found.every_row = not found.binary()
    if found.every_row:
        name = "click" if any("click" in words(column) for column in look.log.schema) else "event"
        found.add(name, {"every_row": True}, "no outcome found: each row is a positive, negatives are drawn")
    elif not found.good():
        _turn(look, found)
    found.tasks = {name: found.tasks[name] for name in sorted(found.tasks, key=standing)}
    found.unsure += _leave_out(look, found.tasks)
    return found


def _spoiled(look: Look, column: str) -> str | None:
    """A doubt of a column that is named like an outcome, and is text where it should be numbers."""
    if not is_text(look.log.schema[column]):
        return None
    values = as_text(look.sample[column].drop_nulls())
    number = values.str.strip_chars().cast(pl.Float64, strict=False)
    lost = values.filter(number.is_null())
    if len(lost) == len(values) or lost.n_unique() > _MOST_SPOILS or not _named(look, column, number.n_unique()):
        return None
    if not len(lost):
        return f"{column} looks like an outcome, but is text: write it as numbers, then run this again"
    seen = f"{len(lost):,} of {len(values):,} values seen"
    return f"{column} looks like an outcome, but holds '{lost[0]}' ({seen}): make it empty or null, then run this again"


def _named(look: Look, column: str, values: int) -> bool:
    """Whether a column of so many values is named like a rating, something timed, or an outcome."""
    parts = set(words(column))
    outcome = outcome_words(column) - look.common() and not (_QUALIFIES | _TIMED | _SHARE | _TOTAL) & parts
    return bool(_RATING & parts or (_WATCH & parts and _TIMED & parts) or (outcome and values <= _MOST_KINDS))


def _turn(look: Look, found: Tasks) -> None:
    """Where all outcomes are negative: one is turned round, or the final order goes by what is least likely."""
    bad = sorted(found.binary(), key=lambda name: -_share(look, found.tasks[name].settings))
    said = f"all outcomes found are negative ({', '.join(bad)})"
    turned = {name: other for name in bad if (other := _other(look, found, name)) is not None}
    if turned:
        name = next(iter(turned))
        settings = {"column": found.tasks.pop(name).settings["column"], "equals": turned[name]}
        found.add(f"not_{name}", settings, f"all outcomes found are negative: {name} is turned round")
        rest = [task for task in bad if task != name]
        score = f'; serve.score = "{" - ".join([f"not_{name}", *rest])}" takes {" and ".join(rest)} into account'
        found.unsure.append(f"{said}: not_{name} is what is wished for{score if rest else ''}")
    elif all(name.isidentifier() for name in bad):
        found.score = "-" + " - ".join(bad)
        found.unsure.append(f"{said}: serve.score puts first what is least likely to meet with them")
    else:
        found.unsure.append(f"{said}: add a task of what is wished for, or the likeliest of them come first")


def _other(look: Look, found: Tasks, name: str) -> object:
    """The one value of a task's column that is not positive; nothing where there are more, or other tasks read it."""
    settings = found.tasks[name].settings
    if sum(task.settings.get("column") == settings["column"] for task in found.tasks.values()) > 1:
        return None
    series = look.sample[str(settings["column"])]
    values = series.filter(positives(look, settings) == 0).unique().to_list()
    if len(values) != 1:
        return None
    return values[0] if isinstance(values[0], (bool, str)) else int(values[0])


def _leave_out(look: Look, tasks: dict[str, Task]) -> list[str]:
    """Keep the rarest outcomes out of histories, as many as have no code there; and say which."""
    rare = sorted(tasks, key=lambda name: _share(look, tasks[name].settings))
    left = []
    while (
        rare and math.prod(TaskConfig.model_validate(task.settings).told_apart for task in tasks.values()) > MOST_CODES
    ):
        tasks[rare[0]].settings["history"] = False
        left.append(rare.pop(0))
    if not left:
        return []
    return [
        f"histories have room for {MOST_CODES} combinations of outcomes: those of {', '.join(left)} are left out, being rare"
    ]


def _share(look: Look, settings: dict[str, object]) -> float:
    """How often a binary task is positive; other tasks count as if they always were."""
    if settings.get("kind") == "regression" or "column" not in settings:
        return 1.0
    return float(positives(look, settings).mean() or 0)  # type: ignore[arg-type]


def positives(look: Look, settings: dict[str, object]) -> pl.Series:
    """A binary task's labels in the sample."""
    series = look.sample[str(settings["column"])]
    if "equals" in settings:
        wanted: str = as_text(pl.Series([settings["equals"]]))[0]
        return (as_text(series) == wanted).cast(pl.Float64)
    number = series.cast(pl.Float64, strict=False)
    if "divide_by" in settings:
        number = number / look.sample[str(settings["divide_by"])]
    return (number >= settings.get("at_least", 1)).cast(pl.Float64)


def _add_flag(look: Look, found: Tasks, column: str) -> None:
    parts = words(column)
    both = 0 < look.ones[column] < look.rows - look.nulls[column]
    if both and outcome_words(column) - look.common() and not _QUALIFIES & set(parts):
        name = "_".join(word for word in parts if word not in ("is", "has", "flag"))
        found.add(name, {"column": column}, "a column of 0 and 1 that is named like an outcome")


def _add_named(look: Look, found: Tasks, column: str) -> None:
    """A column that is named like an outcome and holds two values that are not 0 and 1, or small counts."""
    dtype, parts = look.log.schema[column], set(words(column))
    if (
        not outcome_words(column) - look.common()
        or (_QUALIFIES | _TIMED | _SHARE | _TOTAL) & parts
        or look.nulls[column] == look.rows
    ):
        return
    name = "_".join(word for word in words(column) if word not in ("is", "has", "flag"))
    values = look.sample[column].drop_nulls().unique()
    if is_text(dtype) and len(values) == 2:
        yes = [text for text in as_text(values) if text.strip().lower() in _YES]
        if len(yes) == 1:
            found.add(name, {"column": column, "equals": yes[0]}, f"one of two values, {yes[0]}, says yes")
    elif dtype.is_numeric() and len(values) == 2:
        top = float(values.max() or 0)  # type: ignore[arg-type]
        found.add(
            name, {"column": column, "at_least": top}, "the higher of two values of a column named like an outcome"
        )
    elif dtype.is_integer() and 2 < len(values) <= _MOST_KINDS and values.min() == 0 and not _PLACE & parts:
        found.add(name, {"column": column, "at_least": 1}, "a count that is named like an outcome")
        found.unsure.append(f"{column} is taken for a count of what came of a row: positive from 1 on")


def _add_rating(look: Look, found: Tasks, column: str) -> None:
    values = look.sample[column].drop_nulls()
    top = float(values.max() or 0)  # type: ignore[arg-type]
    if values.n_unique() > 100 or not 2 <= top <= 100:
        return
    bar = 4 if top <= 5 else round(0.8 * top)
    if 0 < (values >= bar).sum() < len(values):
        found.add("like", {"column": column, "at_least": bar}, f"a rating up to {top:g}: the best are positive")
        if (values == 0).any():
            found.unsure.append(
                f'{column} is 0 on some rows: if that says "not rated", set data.where = "{column} > 0"'
            )


def _is_kind(look: Look, column: str) -> bool:
    """Whether a column says what kind of behaviour each row is: by its name, or by its values."""
    dtype, parts = look.log.schema[column], words(column)
    if not (dtype.is_integer() or is_text(dtype)) or not 2 <= look.distinct(column) <= _MOST_KINDS:
        return False
    if _KIND & set(parts) and parts[-1] in _KIND | _OF_KIND:
        return True
    values = as_text(look.sample[column].drop_nulls().unique())
    return is_text(dtype) and sum(bool(outcome_words(value)) for value in values) > 0.5 * len(values)


def _add_kinds(look: Look, found: Tasks, column: str) -> None:
    """One task for each value of a column of kinds of behaviour."""
    names = {}
    for value in sorted(as_text(look.sample[column].drop_nulls().unique()), key=kind_order):
        name = "_".join(words(value)) if not value.isdigit() else "_".join([*words(column), value])
        typed = int(value) if look.log.schema[column].is_integer() else value
        names[value] = name or "other"
        found.add(name or "other", {"column": column, "equals": typed}, "one task for each kind of behaviour")
    shown = [value for value in names if SHOWN & set(words(value))]
    if shown and len(shown) < len(names):
        found.unsure.append(
            f"{column} = {shown[0]} and what came of it are rows of their own: if they are one exposure, join them first"
        )


def _add_watch(look: Look, found: Tasks, free: list[str]) -> None:
    """Watch time, as a share of the duration where both are there."""
    numbers = [name for name in free if look.numeric(name) and name not in look.ones]
    lengths = [name for name in numbers if _LENGTH & set(words(name)) and not _WATCH & set(words(name))]
    watched = _watched(look, free)
    ratios = [name for name in numbers if _WATCH & set(words(name)) and _SHARE & set(words(name))]
    if watched and lengths:
        settings: dict[str, object] = {"column": watched[0], "divide_by": lengths[0]}
        ratio = look.sample[watched[0]] / look.sample[lengths[0]]
    elif ratios:
        settings, ratio = {"column": ratios[0]}, look.sample[ratios[0]]
    else:
        return
    # Nobody watches most things ten times: such shares are of a hundred.
    bar = 100 * _LONG if "divide_by" not in settings and float(ratio.quantile(0.9) or 0) > 10 else _LONG
    edges: dict[str, object] = {} if bar < 1 else {"edges": [10.0, 50.0, 80.0, 99.0]}
    found.add("watch_ratio", {**settings, "kind": "regression", **edges}, "share that was watched")
    long = (ratio >= bar).drop_nulls()
    if not found.good() and 0 < long.sum() < len(long):
        found.add("long_watch", {**settings, "at_least": bar}, "watched nearly to the end")


def _watched(look: Look, free: list[str]) -> list[str]:
    """Columns of how long something was watched."""
    numbers = [name for name in free if look.numeric(name) and name not in look.ones]
    return [name for name in numbers if _WATCH & set(words(name)) and _TIMED & set(words(name))]


def guess_delay(look: Look, free: list[str], gap: float) -> tuple[float | str, list[str]]:
    """Seconds after which nearly every outcome is known, or the column of them; and doubts.

    ``gap``: seconds from one event of a user to the next, as a median.
    """
    watched = _watched(look, free)
    if not watched:
        return 0.0, []
    column = watched[0]
    values = look.sample[column].drop_nulls()
    high = float(values.quantile(0.99) or 0)
    named = {"ms", "millis", "milliseconds"} & set(words(column))
    middle = float(values.median() or 0)  # type: ignore[arg-type]
    if named or middle > max(gap, _LONG_SECONDS):
        if not 0 <= high < 1000 * _DAY:
            return 0.0, [
                f"{column} = {high:g} is no time that one watches, in milliseconds: no data.feedback_delay is set"
            ]
        doubt = (
            f"{column} is longer than what lies between a user's events: read as milliseconds in data.feedback_delay"
        )
        return float(-(-high // 1000)), [] if named else [doubt]
    given = look.nulls[column] == 0 and len(values) == look.sample.height
    whole = given and float(values.min() or 0) >= 0  # type: ignore[arg-type]
    return (column, []) if whole and high < _DAY else (0.0, [])
