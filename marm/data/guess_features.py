"""Guesses at features: what describes items and users, what is known before an outcome.

A column that may hold the outcome, or a count over the whole period, is never guessed: it stays a comment.
"""

from dataclasses import dataclass, field

import polars as pl

from marm.data.guess import Guess
from marm.data.guess_sides import OF_ITEMS, OF_USERS, Repeats, SideGuess, guess_side, no_value, repeats_of
from marm.data.guess_tasks import positives
from marm.data.guess_words import OUTCOME
from marm.data.look import Look, words

_CONTEXT = frozenset((
    "device", "os", "platform", "country", "region", "city", "page", "position", "pos", "rank", "slot", "hour",
    "weekday", "dow", "tab", "channel", "source", "referrer", "environment", "browser", "app", "language", "lang",
    "locale", "network", "scenario", "domain", "surface", "medium", "placement",
))  # fmt: skip
_BOOKKEEPING = frozenset(("file", "row", "src", "rand", "index", "idx"))
_AFTER = OUTCOME | frozenset((
    "time", "ms", "sec", "seconds", "duration", "dwell", "stay", "scroll", "spent", "next", "exit", "end", "final", "result",
    "status", "watch", "play", "playback",
))  # fmt: skip
"""Words of what is known only once an exposure is over."""
_TELLS = 0.3
"""Share of an outcome's variance that nothing known before it explains."""
_MOST_CONTEXT = 1_000


@dataclass
class FeatureGuess:
    """Features by where they stand."""

    items: SideGuess | None = None
    users: SideGuess | None = None
    repeats: dict[str, Repeats] = field(default_factory=dict)
    """Files that would be a side, by its name."""
    item: dict[str, str] = field(default_factory=dict)
    """Of the log."""
    user: dict[str, str] = field(default_factory=dict)
    context: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    """What a person should look at, a line each."""


def guess_features(look: Look, guess: Guess) -> FeatureGuess:
    """What describes items, users and the context of an exposure."""
    out = FeatureGuess()
    out.items = guess_side(look, guess.item, list(look.beside), OF_ITEMS)
    others = [file for file in look.beside if out.items is None or file != out.items.file]
    out.users = guess_side(look, guess.user, others, OF_USERS)
    _say_repeats(look, guess, out)
    outcomes = {column for task in guess.tasks.values() for column in map(str, task.settings.values())}
    taken = {guess.user, guess.item, guess.time, guess.delay, *outcomes}
    beside = set(out.items.features if out.items else ()) | set(out.users.features if out.users else ())
    for column in look.log.schema:
        if not _BOOKKEEPING.isdisjoint(words(column)):
            out.doubtful[column] = "bookkeeping"
        elif column not in taken and column not in beside:
            _log_column(look, guess, column, out)
    for group, side in ((out.item, out.items), (out.user, out.users)):
        for column in sorted(group.keys() & (side.doubtful.keys() if side else set())):
            del group[column]
            out.doubtful[column] = "a file beside the log has a column of this name, which would be read instead"
    for group in (out.item, out.user, out.context):
        for column in list(group):
            if (task := _told(look, guess, column)) is not None:
                del group[column]
                out.doubtful[column] = f"nearly tells {task} by itself: it may be known only after the outcome"
    return out


def _say_repeats(look: Look, guess: Guess, out: FeatureGuess) -> None:
    """Files that would be a side which there is none of, if they had each id once."""
    used = {side.file for side in (out.items, out.users) if side is not None}
    for name, column, side in (("items", guess.item, out.items), ("users", guess.user, out.users)):
        files = [file for file in look.beside if file not in used]
        found = repeats_of(look, column, files) if side is None else None
        if found is not None:
            used.add(found.file)
            out.repeats[name] = found
            out.unsure.append(found.doubt)


def _told(look: Look, guess: Guess, column: str) -> str | None:
    """The binary task of which a column tells so much that it can hardly be known before."""
    for name, task in guess.tasks.items():
        if task.settings.get("kind") == "regression" or "column" not in task.settings:
            continue
        rows = pl.DataFrame({"by": look.sample[column], "label": positives(look, task.settings)}).drop_nulls("label")
        groups = rows.group_by("by").agg(rows=pl.len(), rate=pl.col("label").mean())
        rate = float(rows["label"].mean() or 0)  # type: ignore[arg-type]
        if 0 < rate < 1:
            explained = float((groups["rows"] * (groups["rate"] - rate) ** 2).sum()) / (rows.height * rate * (1 - rate))
            # So much is explained by as many groups of nothing but chance.
            if explained - groups.height / rows.height > _TELLS:
                return name
    return None


def _log_column(look: Look, guess: Guess, column: str, out: FeatureGuess) -> None:
    """Put a column of the log where it belongs; when unsure, among the doubtful."""
    parts = set(words(column))
    values = look.distinct(column)
    dtype = look.log.schema[column]
    if no_value(dtype) or dtype.is_float() or values < 2:
        out.doubtful[column] = "may hold the outcome, or is no category"
    elif (_AFTER - look.common()) & parts:
        out.doubtful[column] = "may be known only after the outcome"
    elif OF_ITEMS & parts and not _CONTEXT & parts and _constant(look, guess.item, column):
        out.item[column] = "category"
    elif _CONTEXT & parts and values <= _MOST_CONTEXT:
        out.context[column] = "category"
    elif OF_USERS & parts and values <= _MOST_CONTEXT and _constant(look, guess.user, column):
        out.user[column] = "category"
    else:
        out.doubtful[column] = "may be known only after the outcome"


def _constant(look: Look, key: str, column: str) -> bool:
    """Whether a column hardly ever changes for one id, of ids that come more than once."""
    rows = look.sample.select(key, column).drop_nulls()
    rows = rows.filter(pl.len().over(key) > 1)
    ids = rows[key].n_unique()
    return ids > 0 and rows.unique().height <= 1.05 * ids
