"""Guesses at settings of model and memory, from what users do in a log."""

from dataclasses import dataclass, replace

import polars as pl

from marm.config.memory import MemoryConfig
from marm.data.guess import Guess
from marm.data.guess_features import FeatureGuess
from marm.data.look import Look

_ROWS = 500_000
_OFTEN = 0.05
_KINDS = 4
"""Of ids that are compared: each doubles what a layer has to tell apart."""
_WINDOW = MemoryConfig().window
_LONG_WINDOW = 4 * _WINDOW
_MANY = 0.1


@dataclass(frozen=True)
class Setting:
    """A line of the run file, and why it stands there."""

    value: bool | int | str
    reason: str


def guess_model(look: Look, guess: Guess, features: FeatureGuess) -> dict[str, dict[str, Setting]]:
    """Settings that the log asks for, by section and name.

    Where users often come back to an item, layers are told of equal ids: what became of it the last time says much, and
    only outcomes of the log's own say it. Where many pasts are longer than the usual window, it is longer too.
    """
    rows = _sampled(look, guess)
    fade = Setting(True, "rows of history fade with age: real logs gained by it or were level")
    settings: dict[str, dict[str, Setting]] = {"model": {"fade": fade}, "memory": {}}
    again, past = _again(rows), _long(rows)
    if again >= _OFTEN and not guess.every_row and _kinds(features) <= _KINDS:
        reason = f"guess: {again:.0%} of the rows are of items that their user had before"
        settings["model"]["equal_ids"] = Setting(True, reason)
    if past >= _MANY:
        reason = f"guess: {past:.0%} of the rows have more than {_WINDOW} events of their user before them"
        settings["memory"]["window"] = Setting(_LONG_WINDOW, reason)
    if guess.score:
        settings["serve"] = {"score": Setting(guess.score, "guess: all outcomes are negative")}
    return settings


def _kinds(features: FeatureGuess) -> int:
    """Kinds of id of an item."""
    items = {**(features.items.features if features.items else {}), **features.item}
    return 1 + list(items.values()).count("category")


def _sampled(look: Look, guess: Guess) -> pl.DataFrame:
    """Users and items of all rows of a sample of the users."""
    user, item = pl.col(guess.user), pl.col(guess.item)
    kept = pl.sql_expr(guess.where).fill_null(False) if guess.where else pl.lit(True)
    mine = (user.hash() % max(1, look.rows // _ROWS) == 0) & kept
    log = replace(look.log, roles=frozenset((guess.user, guess.item, guess.time)))
    frames = log.frames({"user": user, "item": item, "mine": mine})
    return pl.concat([frame.filter("mine").select("user", "item") for _, frame in frames])


def _again(rows: pl.DataFrame) -> float:
    """Share of rows of an item that its user had before."""
    return 1 - rows.n_unique() / max(rows.height, 1)


def _long(rows: pl.DataFrame) -> float:
    """Share of rows with more events of their user before them than the usual window holds."""
    beyond = (rows["user"].value_counts()["count"].cast(pl.Int64) - _WINDOW - 1).clip(0)
    return float(beyond.sum()) / max(rows.height, 1)
