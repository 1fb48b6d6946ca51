"""How a click comes about: what a user is like, and what the exposures before have made of the user.

The appeal of an item (a logit, before the intercept) is a sum. Always there: the user's bias, the item's quality, the
user's taste for the item's vector and for its category. The effects, each with its own strength and switch:

``drift``      interest . vector of the item; the interest is a random walk with pull to zero, whose correlation
               halves every ``interest_length`` events of the user.
``satiation``  -f / (f + 3) for the item's category, f its exposures to the user, each fading by half every
               ``satiation_length`` events.
``order``      Let c be the item's category and c' its follower: the category that the user was shown right after the
               last unbroken run of c (no run that is still the newest: nothing has followed it yet). The effect is
               turns[c, 0] * turns[c', 1], 1 or -1. Which categories were seen, and how often, tells nothing of it.
``long``       Each user has a fixed coin, 1 or -1, for each returning author. Every fifth slate is one author's page,
               the authors in turn, so that an author comes back after ``long_period`` events: then only what the user
               did that long ago tells the coin. Ordinary feeds never show these authors.

Only slates before the target's own count: members of a slate share one moment and do not see each other.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from marm.types import F32, I16, I32, I64, U64
from marm.world.chance import normal, sign, streams
from marm.world.config import WorldConfig
from marm.world.make import Catalogue, People

RECENT = 256
"""Slots of what a feed remembers having shown."""

_HALF_TIRED = 3.0


class Dials(NamedTuple):
    """Strengths in logits, 0 for an effect that is off; what fades does so by a factor for each event."""

    user_bias: float
    quality: float
    taste: float
    category_taste: float
    drift: float
    interest_keeps: float
    satiation: float
    tired_keeps: float
    order: float
    long: float
    key: np.uint64
    """Of the coins for returning authors."""


class States(NamedTuple):
    """What the past has made of some users; one row for each."""

    user: I64
    """Number of the user in the world."""
    interest: F32
    """(rows, width)."""
    tired: F32
    """(rows, categories)."""
    follower: I16
    """(rows, categories) what followed the last run; -1 before any."""
    last: I16
    """Category of the last exposure; -1 before any."""
    slates: I64
    theme: I16
    """Category of the last slate's theme; -1 before any."""
    shown: I32
    """(rows, RECENT) items shown of late."""
    moods: U64
    """Random numbers of the interest."""
    feed: U64
    """Random numbers of the feed."""


def dials(config: WorldConfig) -> Dials:
    """The strengths of a world; effects that are off have none."""
    return Dials(
        user_bias=config.user_bias,
        quality=config.quality,
        taste=config.taste,
        category_taste=config.category_taste,
        drift=config.strength("drift"),
        interest_keeps=0.5 ** (1.0 / config.interest_length),
        satiation=config.strength("satiation"),
        tired_keeps=0.5 ** (1.0 / config.satiation_length),
        order=config.strength("order"),
        long=config.strength("long"),
        key=np.uint64(config.seed * 2 + 1),
    )


def newcomers(config: WorldConfig, users: I64) -> States:
    """The states of users who have seen nothing."""
    n = len(users)
    states = States(
        user=users,
        interest=np.empty((n, config.width), np.float32),
        tired=np.zeros((n, config.categories), np.float32),
        follower=np.full((n, config.categories), -1, np.int16),
        last=np.full(n, -1, np.int16),
        slates=np.zeros(n, np.int64),
        theme=np.full(n, -1, np.int16),
        shown=np.full((n, RECENT), -1, np.int32),
        moods=streams(config.seed, 2, users),
        feed=streams(config.seed, 3, users),
    )
    _first_interest(states)
    return states


@njit(cache=True, nogil=True)
def _first_interest(states: States) -> None:
    for row in range(len(states.interest)):
        for f in range(states.interest.shape[1]):
            states.interest[row, f] = normal(states.moods, row)


@njit(cache=True, nogil=True)
def appeal(dial: Dials, catalogue: Catalogue, people: People, states: States, row: int, item: int) -> float:
    """Logit of a click, before the intercept, of showing ``item`` now to the user of a row."""
    user, category = states.user[row], catalogue.category[item]
    taste, interest = 0.0, 0.0
    for f in range(catalogue.vector.shape[1]):
        taste += people.taste[user, f] * catalogue.vector[item, f]
        interest += states.interest[row, f] * catalogue.vector[item, f]
    tired = states.tired[row, category]
    out = dial.user_bias * people.bias[user] + dial.quality * catalogue.quality[item]
    out += dial.taste * taste + dial.category_taste * people.liking[user, category]
    out += dial.drift * interest - dial.satiation * tired / (tired + _HALF_TIRED)
    follower = states.follower[row, category]
    if follower >= 0:
        out += dial.order * catalogue.turns[category, 0] * catalogue.turns[follower, 1]
    author = catalogue.author[item]
    if author < catalogue.returning:
        out += dial.long * sign(dial.key, user, author)
    return float(out)


@njit(cache=True, nogil=True)
def advance(dial: Dials, catalogue: Catalogue, states: States, row: int, items: I32) -> None:
    """Let the user of a row have seen a slate."""
    keeps, fades = dial.interest_keeps ** len(items), dial.tired_keeps ** len(items)
    shakes = np.sqrt(1.0 - keeps * keeps)
    for f in range(states.interest.shape[1]):
        states.interest[row, f] = keeps * states.interest[row, f] + shakes * normal(states.moods, row)
    for c in range(states.tired.shape[1]):
        states.tired[row, c] *= fades
    # A slate is one moment: its exposures fade together from then on.
    for item in items:
        category, last = catalogue.category[item], states.last[row]
        states.tired[row, category] += 1.0
        if last >= 0 and last != category:
            states.follower[row, last] = category
        states.last[row] = category
        states.shown[row, item % RECENT] = item
    states.slates[row] += 1
