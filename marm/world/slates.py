"""What to show to many users at once: the app's own feed, the best there is, items at random, an order without repeats."""

import numpy as np
from numba import njit

from marm.mix import GOLDEN, mix
from marm.types import I32, I64, U8, U64
from marm.world.chance import streams, uniform
from marm.world.dynamics import Dials, States, appeal, dials
from marm.world.feed import choose
from marm.world.make import Catalogue, People, World
from marm.world.outcomes import Intercepts, probabilities


def uploaded(world: World, at: I64) -> I64:
    """How many items are there at times (n,) in milliseconds: all before that place of the catalogue."""
    return np.searchsorted(world.catalogue.uploaded, at, side="right")


def feed(world: World, states: States, rows: I64, at: I64, count: int) -> I32:
    """Slates (Q, count) of the app's own feed, as in the log."""
    out = np.empty((len(rows), count), np.int32)
    _feed(world.catalogue, world.people, states, rows, at, out, np.empty(count, np.uint8))
    return out


@njit(cache=True, nogil=True)
def _feed(catalogue: Catalogue, people: People, states: States, rows: I64, at: I64, out: I32, page: U8) -> None:
    for q in range(len(rows)):
        choose(catalogue, people, states, rows[q], at[q], out[q], page)


def best(world: World, base: Intercepts, states: States, rows: I64, at: I64, count: int) -> I32:
    """The items (Q, count) of which users would in truth watch most, none that was shown of late."""
    out = np.empty((len(rows), count), np.int32)
    _best(dials(world.config), base, world.catalogue, world.people, states, rows, uploaded(world, at), out)
    return out


@njit(cache=True, nogil=True)
def _best(
    dial: Dials,
    base: Intercepts,
    catalogue: Catalogue,
    people: People,
    states: States,
    rows: I64,
    there: I64,
    out: I32,
) -> None:
    truth, worth = np.empty(6, np.float32), np.empty(len(catalogue.category), np.float32)
    for q in range(len(rows)):
        row, user = rows[q], states.user[rows[q]]
        worth[:] = -1.0
        for item in range(there[q]):
            if not _of_late(states, row, item):
                pull = appeal(dial, catalogue, people, states, row, item)
                probabilities(base, catalogue, people, user, item, pull, truth)
                worth[item] = truth[5]
        out[q] = np.argsort(-worth, kind="mergesort")[: out.shape[1]]


@njit(cache=True, nogil=True)
def _of_late(states: States, row: int, item: int) -> bool:
    return bool(states.shown[row, item % states.shown.shape[1]] == item)


def firsts(states: States, rows: I64, order: I64, count: int) -> I32:
    """The first ``count`` items of each user's order that were not shown of late; then of those that were: (Q, count).

    ``order`` (Q, C), or (1, C) for all; -1 is no item, also where an order has no more.
    """
    out = np.full((len(rows), count), -1, np.int32)
    _firsts(states, rows, order, out)
    return out


@njit(cache=True, nogil=True)
def _firsts(states: States, rows: I64, order: I64, out: I32) -> None:
    for q in range(len(rows)):
        mine, found = order[min(q, len(order) - 1)], 0
        for again in range(2):
            for item in mine:
                if found == out.shape[1]:
                    break
                if item >= 0 and _of_late(states, rows[q], item) == (again == 1):
                    out[q, found] = item
                    found += 1


def drawn(world: World, states: States, rows: I64, at: I64, count: int, purpose: int) -> I32:
    """Items (Q, count) drawn from all that are there, distinct ones, for each user and slate on their own."""
    out = np.empty((len(rows), count), np.int32)
    luck = streams(world.config.seed, purpose, states.user[rows])
    _drawn(luck, states.slates[rows], uploaded(world, at), out)
    return out


@njit(cache=True, nogil=True)
def _drawn(luck: U64, slates: I64, there: I64, out: I32) -> None:
    for q in range(len(luck)):
        spot = np.array([mix(luck[q] ^ (np.uint64(slates[q] + 1) * GOLDEN))])
        for j in range(out.shape[1]):
            item = np.int32(uniform(spot, 0) * there[q])
            while (out[q, :j] == item).any():
                item = np.int32((item + 1) % there[q])
            out[q, j] = item


def mixed(slates: I32, strangers: I32, share: int) -> I32:
    """Slates (Q, k) with strangers (Q, k) in their last ``share`` places, and wherever there is no item."""
    out = slates.copy()
    _mixed(out, strangers, share)
    return out


@njit(cache=True, nogil=True)
def _mixed(out: I32, strangers: I32, share: int) -> None:
    count = out.shape[1]
    for q in range(len(out)):
        out[q, count - share :] = -1
        taken = 0
        for place in range(count):
            while out[q, place] < 0:
                item = strangers[q, taken]
                if not (out[q] == item).any():
                    out[q, place] = item
                taken += 1
