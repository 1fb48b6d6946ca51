"""People who come and go: a visit is a string of slates, and what these were worth decides about the next.

What a slate is worth is its mean expected watch ratio. A mood follows it, over what the user is used to from the app's own
feed: m <- (1 - r) m + r (worth / used to - 1). After each slate the user stays with chance logistic(stays + moved m); who
leaves may never come back, with chance quits exp(-4 m); else comes back after an absence of mean exp(-m), the shorter the
more active the user, that runs by the hours of the day. Luck is drawn anew for each user and slate, from their numbers
alone: the same user is as lucky in whatever company, and under whatever policy, so that only what is shown makes a difference.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from marm.mix import GOLDEN, MUL_A, mix
from marm.types import F32, F64, I32, I64, U8, U64
from marm.world.chance import streams, uniform
from marm.world.clock import START
from marm.world.config import SLATE_MEAN
from marm.world.dynamics import States, advance, appeal, dials, newcomers
from marm.world.feed import walk
from marm.world.figures import DURATION_P50, HOURS, SESSIONS
from marm.world.make import World
from marm.world.outcomes import Intercepts, act, probabilities, watched

NEVER = np.iinfo(np.int64).max
"""When somebody comes who does not come back."""

_FOLLOWS, _MOVED, _QUITS, _PAUSE = 0.15, 1.0, 0.005, 5_000.0
_STAYS = 1.0 - SESSIONS * SLATE_MEAN
_AWAY = 1.0 / 5.0
"""Days between two visits of a user of median activity: 150 a month, as published."""
_SHORTEST = 1.0 / 48.0
_DAY, _HOUR = 86_400_000.0, 3_600_000.0
_CLOCK = np.concatenate([[0.0], np.cumsum(HOURS) / sum(HOURS)])
_TRIAL, _FRESH = 240, 120
"""Events of the app's own feed that tell what a user is used to, but for the first, when nothing has tired yet."""


class Audience(NamedTuple):
    """Some users of a world, one row for each."""

    states: States
    luck: U64
    mood: F64
    used_to: F64
    """Mean expected watch ratio under the app's own feed."""
    activity: F64
    """Over the median."""
    next: I64
    """Milliseconds of the next request; ``NEVER``."""
    visits: I64
    """Visits begun."""


class Seen(NamedTuple):
    """What came of slates (Q, k)."""

    truth: F32
    """(Q, k, 6) as in the log: the true chance of each action, and the expected watch ratio."""
    done: U8
    """(Q, k, 5), as ``ACTIONS``."""
    ratio: F32
    """Watch time over duration."""
    seconds: F32
    """Watch time."""
    left: U8
    """(Q,) whether the user left after the slate."""


def audience(world: World, base: Intercepts, users: I64) -> Audience:
    """Users before their first visit, which falls into the first day."""
    n = len(users)
    luck = streams(world.config.seed, 5, users)
    people = Audience(
        states=newcomers(world.config, users),
        luck=luck,
        mood=np.zeros(n),
        used_to=_used_to(world, base, users),
        activity=world.activity[users],
        next=np.empty(n, np.int64),
        visits=np.zeros(n, np.int64),
    )
    _first_visit(luck, people.next)
    return people


def _used_to(world: World, base: Intercepts, users: I64) -> F64:
    counts = np.full(len(users), _TRIAL)
    _, item, _, pull = walk(world, users, counts)
    truth, _, _ = act(world, base, users, counts, item, pull)
    return np.asarray(truth[:, 5].reshape(len(users), _TRIAL)[:, _FRESH:].mean(1, dtype=np.float64))


@njit(cache=True, nogil=True)
def _first_visit(luck: U64, out: I64) -> None:
    for row in range(len(luck)):
        spot = np.array([mix(luck[row] ^ MUL_A)])
        out[row] = START + np.int64(_on_the_clock(uniform(spot, 0)) * _DAY)


@njit(cache=True, nogil=True)
def _on_the_clock(busy: float) -> float:
    """Days at which so much of everybody's activity, in days of it, has passed."""
    day = math.floor(busy)
    hour = min(int(np.searchsorted(_CLOCK, busy - day, side="right")) - 1, 23)
    return float(day + (hour + (busy - day - _CLOCK[hour]) / (_CLOCK[hour + 1] - _CLOCK[hour])) / 24.0)


@njit(cache=True, nogil=True)
def _busy(days: float) -> float:
    """The inverse."""
    day = math.floor(days)
    hour = min(int((days - day) * 24.0), 23)
    within = (days - day) * 24.0 - hour
    return float(day + _CLOCK[hour] + within * (_CLOCK[hour + 1] - _CLOCK[hour]))


def arrivals(people: Audience, begin: int, end: int) -> tuple[I64, I64]:
    """Rows of those who ask for a slate before ``end``, in the order of time, and when: milliseconds from ``begin`` on."""
    rows = np.flatnonzero(people.next < end)
    at = np.maximum(people.next[rows], begin)
    order = np.argsort(at, kind="stable")
    return rows[order], at[order]


def show(world: World, base: Intercepts, people: Audience, rows: I64, at: I64, items: I32) -> Seen:
    """Show slates (Q, k) to the users of ``rows`` at their times, once each; people move on."""
    q, k = items.shape
    seen = Seen(
        np.empty((q, k, 6), np.float32), np.empty((q, k, 5), np.uint8), np.empty((q, k), np.float32),
        np.empty((q, k), np.float32), np.empty(q, np.uint8),
    )  # fmt: skip
    _show(dials(world.config), base, world.catalogue, world.people, people, rows, at, items, *seen)
    return seen


@njit(cache=True, nogil=True)
def _show(dial, base, catalogue, persons, people, rows, at, items, truth, done, ratio, seconds, left):  # type: ignore[no-untyped-def]
    for q in range(len(rows)):
        row, states = rows[q], people.states
        luck = np.array([mix(people.luck[row] ^ (np.uint64(states.slates[row] + 1) * GOLDEN))])
        if people.visits[row] == 0:
            people.visits[row] = 1
        worth, watch = 0.0, 0.0
        for j in range(items.shape[1]):
            item = items[q, j]
            pull = appeal(dial, catalogue, persons, states, row, item)
            probabilities(base, catalogue, persons, states.user[row], item, pull, truth[q, j])
            _happens(luck, truth[q, j], done[q, j])
            ratio[q, j] = watched(done[q, j, 0] == 1, done[q, j, 1] == 1, uniform(luck, 0))
            seconds[q, j] = ratio[q, j] * DURATION_P50 * math.exp(catalogue.log_duration[item])
            worth += truth[q, j, 5] / items.shape[1]
            watch += 1000.0 * seconds[q, j]
        advance(dial, catalogue, states, row, items[q])
        left[q] = _move_on(people, row, at[q] + watch + _PAUSE, worth, luck)


@njit(cache=True, nogil=True)
def _happens(luck: U64, truth: F32, done: U8) -> None:
    """As many draws for every item, so that luck hangs on the place in the slate alone."""
    done[0] = uniform(luck, 0) < truth[0]
    for action in range(1, len(done)):
        happens = uniform(luck, 0) * truth[0] < truth[action]
        done[action] = done[0] and happens


@njit(cache=True, nogil=True)
def _move_on(people: Audience, row: int, now: float, worth: float, luck: U64) -> bool:
    """After a slate: another one, an absence, or never again; whether the user left."""
    mood = (1.0 - _FOLLOWS) * people.mood[row] + _FOLLOWS * (worth / people.used_to[row] - 1.0)
    people.mood[row] = mood
    stays, back, away = uniform(luck, 0), uniform(luck, 0), uniform(luck, 0)
    if stays < 1.0 / (1.0 + math.exp(-math.log(_STAYS / (1.0 - _STAYS)) - _MOVED * mood)):
        people.next[row] = np.int64(now)
        return False
    if back < _QUITS * math.exp(-4.0 * mood):
        people.next[row] = NEVER
        return True
    days = max(_SHORTEST, -_AWAY * math.log(1.0 - away) * math.exp(-mood) / people.activity[row])
    since = (now - START) / _DAY
    people.next[row] = START + np.int64(_on_the_clock(_busy(since) + days) * _DAY)
    people.visits[row] += 1
    return True
