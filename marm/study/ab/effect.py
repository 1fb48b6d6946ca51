"""How much better an arm does than the first one, and how sure that is: over users, and over seeds of the models."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from marm.study.interval import DRAWS, Difference, seeds_apart
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


def effect(
    arm: Sequence[pl.DataFrame], first: Sequence[pl.DataFrame], measure: str, paired: bool, seed: int = 0
) -> Difference:
    """An arm's mean over users and seeds above the first arm's, as a share of that; NaN where the first arm has none of it.

    ``arm``, ``first``: a table of the same users, row for row, for each seed of the arm; ``paired``: both arms have the
    same users. All users of a seed share one model, so users drawn with replacement say nothing of how much another seed
    would change: what the seeds' means spread by is laid over each draw (``seeds_apart``); of one seed nothing is known.

    What users had played before the test is taken out by regression (CUPED, Deng et al. 2013): it says much about how
    much they play, and nothing about the arm.
    """
    values = [np.stack([table[measure].to_numpy().astype(np.float64) for table in tables]) for tables in (arm, first)]
    before = [tables[0]["play_time_before"].to_numpy() for tables in (arm, first)]
    raw, draw = values[1].mean(0), np.random.default_rng(seed)
    slope = _slope(np.concatenate([values[0].mean(0), raw]), np.concatenate(before))
    one, other = (value.mean(0) - slope * b for value, b in zip(values, before, strict=True))
    apart = seeds_apart([value.mean(1) for value in values], draw)
    drawn = np.empty(DRAWS)
    for i in range(DRAWS):
        at = draw.integers(len(one), size=len(one))
        beside: I64 = at if paired else draw.integers(len(other), size=len(other))
        drawn[i] = _share(one[at], other[beside], raw[beside], apart[i])
    # A draw may hold nobody who did a rare thing: then there is no share of it.
    drawn = drawn[np.isfinite(drawn)] if raw.any() else np.full(1, np.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(_share(one, other, raw), float(low), float(high))


def _share(one: F64, other: F64, raw: F64, apart: float = 0.0) -> float:
    below = raw.mean()
    return float((one.mean() - other.mean() + apart) / below) if below else float("nan")


def _slope(value: F64, before: F64) -> float:
    spread = before.var()
    return float(((value - value.mean()) * (before - before.mean())).mean() / spread) if spread else 0.0
