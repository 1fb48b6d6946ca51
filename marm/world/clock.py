"""When a user is shown what: slates that share one timestamp, pauses as published, sittings over the hours of the day.

    |-- sitting --|    two hours at least    |-- sitting --|
    ### # ## #### #                          ## ##### #        each mark a slate of about six exposures

A user too active for the calendar keeps the order of things and hurries: pauses shrink, and nights are cut short.
"""

import math

import numpy as np
from numba import njit

from marm.types import F64, I64, U64
from marm.world.chance import streams, uniform
from marm.world.config import SLATE_MEAN, SLATE_MOST, WorldConfig
from marm.world.figures import ACTIVITY_P10, ACTIVITY_P90, GAPS, HOURS

START = 1_649_376_000_000
"""Milliseconds of 2022-04-08 00:00 UTC, the first day of the published log."""

_HOUR = 3_600_000.0
_DAY = 24 * _HOUR
_NIGHT = 2 * _HOUR
_NIGHT_SHARE = 0.4
_AWAKE_SHARE = 0.5
_GAP_ENDS = np.array([end * 1000.0 for end, _ in GAPS if end is not None])
_GAP_CUMULATIVE = np.cumsum([share for _, share in GAPS[1:]]) / sum(share for _, share in GAPS[1:])
_HOUR_CUMULATIVE = np.cumsum(HOURS) / sum(HOURS)
_LONG = len(GAPS) - 2


def activity(config: WorldConfig, rng: np.random.Generator) -> tuple[F64, I64]:
    """Each user's activity over the median, and number of events: at least one, ``config.events`` in all."""
    z = rng.standard_normal(config.users)
    spread = np.where(z > 0, math.log(ACTIVITY_P90), -math.log(ACTIVITY_P10)) / 1.2816
    weight = np.exp(z * spread)
    share = weight / weight.sum() * (config.events - config.users)
    counts = np.floor(share).astype(np.int64)
    short = config.events - config.users - int(counts.sum())
    counts[np.argsort(counts - share, kind="stable")[:short]] += 1
    return weight, counts + 1


def times(config: WorldConfig, users: I64, counts: I64) -> I64:
    """Milliseconds of every event, users one after another, not falling within a user."""
    out = np.empty(int(counts.sum()), np.int64)
    _times(streams(config.seed, 1, users), counts, config.days * _DAY, out)
    return out + START


@njit(cache=True, nogil=True)
def _times(chance: U64, counts: I64, span: float, out: I64) -> None:
    """Fill ``out`` with milliseconds since the start."""
    begin = 0
    for row in range(len(counts)):
        end = begin + counts[row]
        gaps = np.zeros(counts[row])
        sittings = _gaps(chance, row, span, gaps)
        _place(chance, row, span, gaps, sittings, out[begin:end])
        begin = end


@njit(cache=True, nogil=True)
def _gaps(chance: U64, row: int, span: float, gaps: F64) -> int:
    """Fill in the pause before each event: 0 within a slate, -1 before a sitting; returns the number of sittings."""
    most = max(1, int(_NIGHT_SHARE * span / _NIGHT))
    sittings, awake, at = 1, 0.0, _slate(chance, row)
    gaps[0] = -1.0
    while at < len(gaps):
        kind = int(np.searchsorted(_GAP_CUMULATIVE, uniform(chance, row), side="right"))
        if kind >= _LONG and sittings < most:
            gaps[at] = -1.0
            sittings += 1
        else:
            kind = min(kind, _LONG - 1)
            low, high = _GAP_ENDS[kind], _GAP_ENDS[kind + 1]
            gaps[at] = low * (high / low) ** uniform(chance, row)
            awake += gaps[at]
        at += _slate(chance, row)
    hurry = min(1.0, _AWAKE_SHARE * span / max(awake, 1.0))
    for j in range(len(gaps)):
        if gaps[j] > 0.0:
            gaps[j] = max(1000.0, math.floor(gaps[j] * hurry))
    return sittings


@njit(cache=True, nogil=True)
def _slate(chance: U64, row: int) -> int:
    """Exposures of a slate: one, and a Poisson number by Knuth's product."""
    size, product, floor = 1, uniform(chance, row), math.exp(1.0 - SLATE_MEAN)
    while product > floor and size < SLATE_MOST:
        product *= uniform(chance, row)
        size += 1
    return size


@njit(cache=True, nogil=True)
def _place(chance: U64, row: int, span: float, gaps: F64, sittings: int, out: I64) -> None:
    """Put sittings on the calendar, their middles by the hours of the day, and write the times."""
    length, middle = np.zeros(sittings), np.empty(sittings)
    sitting = -1
    for gap in gaps:
        if gap < 0.0:
            sitting += 1
        else:
            length[sitting] += gap
    for s in range(sittings):
        hour = np.searchsorted(_HOUR_CUMULATIVE, uniform(chance, row), side="right")
        day = math.floor(uniform(chance, row) * (span / _DAY))
        middle[s] = day * _DAY + (hour + uniform(chance, row)) * _HOUR
    start = np.sort(middle) - length / 2.0
    free = 0.0
    for s in range(sittings):
        start[s] = max(start[s], free)
        free = start[s] + length[s] + _NIGHT * (1.0 + 0.25 * uniform(chance, row))
    latest = span
    for s in range(sittings - 1, -1, -1):
        start[s] = min(start[s], latest - length[s])
        latest = start[s] - _NIGHT
    now, sitting = 0.0, -1
    for j in range(len(gaps)):
        if gaps[j] < 0.0:
            sitting += 1
            now = math.floor(start[sitting])
        else:
            now += gaps[j]
        out[j] = int(now)
