"""From appeal to what the user does: click, and given a click long view, like, follow, comment; and watch time."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from marm.types import F32, F64, I32, I64, U8, U64
from marm.world.chance import streams, uniform
from marm.world.feed import walk
from marm.world.figures import RATES
from marm.world.make import Catalogue, People, World

ACTIONS = ("click", "long_view", "like", "follow", "comment")
"""In the order of columns; all but the click happen on clicked exposures only."""

_CLICK, _LONG, _LIKE, _FOLLOW, _COMMENT = range(5)
_PILOT = 300_000
_GLANCE, _SHORTEST, _SHORT, _LONGEST, _LINGER = 0.06, 0.1, 0.4, 2.0, 0.6
_LONG_FROM = _SHORTEST + _SHORT


class Intercepts(NamedTuple):
    """Logits that make the rates right."""

    click: float
    long_view: float
    like: float
    follow: float
    comment: float


def calibrate(world: World) -> Intercepts:
    """Find intercepts that give the published rates on a pilot: the first events of every user."""
    users = np.arange(world.config.users)
    counts = np.minimum(world.counts, _pilot_cap(world.counts))
    _, item, _, pull = walk(world, users, counts)
    owner = np.repeat(users, counts)
    weight = _weights(world.counts, counts)
    leanings = _leanings(world.catalogue, world.people, owner, item, pull)
    found = [_intercept(leanings[_CLICK], weight, RATES["click"])]
    weight = weight * _logistic(leanings[_CLICK] + found[0])
    for action in range(1, len(ACTIONS)):
        found.append(_intercept(leanings[action], weight, RATES[ACTIONS[action]] / RATES["click"]))
    return Intercepts(*found)


def _weights(counts: I64, pilot: I64) -> F64:
    """The second half of a user's pilot stands for all that the user does later: beginners are not yet tired."""
    half = pilot - pilot // 2
    place = np.arange(pilot.sum()) - np.repeat(np.cumsum(pilot) - pilot, pilot)
    later = (counts - pilot // 2) / half
    return np.where(place < np.repeat(pilot // 2, pilot), 1.0, np.repeat(later, pilot))


def _pilot_cap(counts: I64) -> int:
    """Events of a user in the pilot, such that all of the pilot is about ``_PILOT`` events."""
    low, high = 64, max(64, int(counts.max()))
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(counts, middle).sum()) <= _PILOT:
            low = middle
        else:
            high = middle - 1
    return low


def _intercept(leaning: F64, weight: F64, rate: float) -> float:
    """By halving: the mean chance rises with the intercept."""
    low, high, total = -30.0, 30.0, weight.sum()
    for _ in range(50):
        middle = (low + high) / 2.0
        if float((_logistic(leaning + middle) * weight).sum() / total) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _logistic(x: F64) -> F64:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


@njit(cache=True, nogil=True)
def leaning(catalogue: Catalogue, people: People, user: int, item: int, pull: float, action: int) -> float:
    """Logit of an action before its intercept, given a click (for the click: as it is)."""
    if action == _CLICK:
        return pull
    if action == _LONG:
        return float(0.7 * pull - 0.25 * catalogue.log_duration[item])
    if action == _FOLLOW:
        return 0.6 * pull
    return float(0.5 * pull + people.eager[user])


@njit(cache=True, nogil=True)
def _leanings(catalogue: Catalogue, people: People, owner: I64, item: I32, pull: F32) -> F64:
    out = np.empty((5, len(item)))
    for j in range(len(item)):
        for action in range(5):
            out[action, j] = leaning(catalogue, people, owner[j], item[j], pull[j], action)
    return out


@njit(cache=True, nogil=True)
def probabilities(
    base: Intercepts, catalogue: Catalogue, people: People, user: int, item: int, pull: float, out: F32
) -> None:
    """Fill ``out`` with the chance of each action and, last, the expected watch ratio."""
    for action in range(5):
        out[action] = 1.0 / (1.0 + math.exp(-leaning(catalogue, people, user, item, pull, action) - base[action]))
        if action:
            out[action] *= out[_CLICK]
    lingers = _LINGER * (1.0 - math.exp(-(_LONGEST - _LONG_FROM) / _LINGER))
    out[5] = (1.0 - out[_CLICK]) * _GLANCE + (out[_CLICK] - out[_LONG]) * (_SHORTEST + _SHORT / 2.0)
    out[5] += out[_LONG] * (_LONG_FROM + lingers)


def act(world: World, base: Intercepts, users: I64, counts: I64, item: I32, pull: F32) -> tuple[F32, U8, F32]:
    """True probabilities (n, 6), actions (n, 5) and watch ratio (n,) of users' events, one user after another."""
    truth = np.empty((len(item), 6), np.float32)
    done, ratio = np.empty((len(item), 5), np.uint8), np.empty(len(item), np.float32)
    chance = streams(world.config.seed, 4, users)
    owner = np.repeat(np.arange(len(users)), counts)
    _act(base, world.catalogue, world.people, users, chance, owner, item, pull, truth, done, ratio)
    return truth, done, ratio


@njit(cache=True, nogil=True)
def _act(
    base: Intercepts,
    catalogue: Catalogue,
    people: People,
    users: I64,
    chance: U64,
    owner: I64,
    item: I32,
    pull: F32,
    truth: F32,
    done: U8,
    ratio: F32,
) -> None:
    for j in range(len(item)):
        row = owner[j]
        probabilities(base, catalogue, people, users[row], item[j], pull[j], truth[j])
        clicked = uniform(chance, row) < truth[j, _CLICK]
        done[j, _CLICK] = clicked
        for action in range(1, 5):
            happens = uniform(chance, row) * truth[j, _CLICK] < truth[j, action]
            done[j, action] = clicked and happens
        ratio[j] = watched(clicked, done[j, _LONG] == 1, uniform(chance, row))


@njit(cache=True, nogil=True)
def watched(clicked: bool, to_the_end: bool, spot: float) -> float:
    """Share of the duration that was watched: a glance, a part, or most of it and again."""
    if to_the_end:
        return min(_LONG_FROM - _LINGER * math.log(1.0 - spot), _LONGEST)
    if clicked:
        return _SHORTEST + _SHORT * spot
    return -_GLANCE * math.log(1.0 - spot)
