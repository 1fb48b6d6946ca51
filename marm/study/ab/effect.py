"""How much better an arm does than the first one, and how sure that is: users drawn with replacement."""

import numpy as np
import polars as pl

from marm.study.interval import DRAWS, Difference
from marm.types import F64, I64

MEASURES = {
    "play_time": "play time",
    "returned": "retention",
    "interactions": "interactions",
    "slates": "slates",
    "visits": "visits",
    "clicks": "clicks",
    "long_views": "long views",
}
"""Of each user, as the users' table has them; retention: whether the user came in the last quarter of the test."""


def effect(arm: pl.DataFrame, first: pl.DataFrame, measure: str, paired: bool, seed: int = 0) -> Difference:
    """An arm's mean over users above the first arm's, as a share of that; NaN where the first arm has none of it.

    ``paired``: both tables hold the same users, row for row.

    What users had played before the test is taken out by regression (CUPED, Deng et al. 2013): it says much about how
    much they play, and nothing about the arm.
    """
    sides = [
        (table[measure].to_numpy().astype(np.float64), table["play_time_before"].to_numpy()) for table in (arm, first)
    ]
    slope = _slope(*(np.concatenate(pair) for pair in zip(*sides, strict=True)))
    one, other = (value - slope * before for value, before in sides)
    raw, draw = sides[1][0], np.random.default_rng(seed)
    drawn = np.empty(DRAWS)
    for i in range(DRAWS):
        at = draw.integers(len(one), size=len(one))
        beside: I64 = at if paired else draw.integers(len(other), size=len(other))
        drawn[i] = _share(one[at], other[beside], raw[beside])
    # A draw may hold nobody who did a rare thing: then there is no share of it.
    drawn = drawn[np.isfinite(drawn)] if raw.any() else np.full(1, np.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(_share(one, other, raw), float(low), float(high))


def _share(one: F64, other: F64, raw: F64) -> float:
    below = raw.mean()
    return float((one.mean() - other.mean()) / below) if below else float("nan")


def _slope(value: F64, before: F64) -> float:
    spread = before.var()
    return float(((value - value.mean()) * (before - before.mean())).mean() / spread) if spread else 0.0
