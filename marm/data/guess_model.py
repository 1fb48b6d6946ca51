"""Guesses at settings of the model, from what users do in a log."""

from dataclasses import dataclass

import polars as pl

from marm.data.guess import Guess
from marm.data.guess_features import FeatureGuess
from marm.data.look import Look

_ROWS = 500_000
_OFTEN = 0.05
_KINDS = 4
"""Of ids that are compared: each doubles what a layer has to tell apart."""


@dataclass(frozen=True)
class Setting:
    """A line of the run file, and why it stands there."""

    value: bool | int
    reason: str


def guess_model(look: Look, guess: Guess, features: FeatureGuess) -> dict[str, Setting]:
    """Settings of the section ``model`` that the log asks for, by name.

    Where users often come back to an item, layers are told of equal ids: what became of it the last time says much, and
    only outcomes of the log's own say it.
    """
    items = {**(features.items.features if features.items else {}), **features.item}
    if guess.every_row or 1 + list(items.values()).count("category") > _KINDS:
        return {}
    again = _again(look, guess)
    if again < _OFTEN:
        return {}
    return {"equal_ids": Setting(True, f"guess: {again:.0%} of the rows are of items that their user had before")}


def _again(look: Look, guess: Guess) -> float:
    """Share of rows of an item that its user had before, over all rows of a sample of the users."""
    user, item = pl.col(guess.user), pl.col(guess.item)
    every = max(1, look.rows // _ROWS)
    mine = (user.hash() % every == 0) & user.is_not_null() & item.is_not_null()
    wanted = {"user": user, "item": item, "mine": mine}
    frames = [frame.filter("mine").select("user", "item") for _, frame in look.log.frames(wanted)]
    rows = pl.concat(frames)
    return 1 - rows.n_unique() / max(rows.height, 1)
