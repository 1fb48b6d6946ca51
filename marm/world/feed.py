"""What the app shows: slates of popular items, items of a theme to the user's taste, and a few at random."""

import numpy as np
from numba import njit

from marm.types import F32, F64, I32, I64, U8
from marm.world.chance import uniform
from marm.world.clock import times
from marm.world.config import AUTHOR_PAGE_EVERY
from marm.world.dynamics import RECENT, Dials, States, advance, appeal, dials, newcomers
from marm.world.make import Catalogue, People, World

PAGES = ("theme", "popular", "random", "author")
"""Why an item was shown; an exposure holds the number."""

_THEME, _POPULAR, _RANDOM, _AUTHOR = range(4)
_THEME_SHARE, _POPULAR_SHARE, _THEME_STAYS = 0.50, 0.47, 0.5
_TRIES = 6


def walk(world: World, users: I64, counts: I64) -> tuple[I64, I32, U8, F32]:
    """Time, item, page and appeal of the first ``counts`` events of users, one user after another."""
    when = times(world.config, users, counts)
    item, page = np.empty(len(when), np.int32), np.empty(len(when), np.uint8)
    pull = np.empty(len(when), np.float32)
    states = newcomers(world.config, users)
    _walk(dials(world.config), world.catalogue, world.people, states, counts, when, item, page, pull)
    return when, item, page, pull


@njit(cache=True, nogil=True)
def _walk(
    dial: Dials,
    catalogue: Catalogue,
    people: People,
    states: States,
    counts: I64,
    when: I64,
    item: I32,
    page: U8,
    pull: F32,
) -> None:
    """Show every slate in turn: choose, weigh as things stand, then let the user have seen it."""
    at = 0
    for row in range(len(counts)):
        end = at + counts[row]
        while at < end:
            stop = at + 1
            while stop < end and when[stop] == when[at]:
                stop += 1
            choose(catalogue, people, states, row, when[at], item[at:stop], page[at:stop])
            for j in range(at, stop):
                pull[j] = appeal(dial, catalogue, people, states, row, item[j])
            advance(dial, catalogue, states, row, item[at:stop])
            at = stop


@njit(cache=True, nogil=True)
def choose(catalogue: Catalogue, people: People, states: States, row: int, now: int, item: I32, page: U8) -> None:
    """Fill a slate with items uploaded by now, none shown of late where that can be had, and why each is there."""
    if catalogue.returning and states.slates[row] % AUTHOR_PAGE_EVERY == AUTHOR_PAGE_EVERY - 1:
        page[:] = _AUTHOR
        _author_page(catalogue, states, row, item)
        return
    there = int(np.searchsorted(catalogue.uploaded, now, side="right"))
    _set_theme(people, states, row)
    first, last = catalogue.shelf_start[states.theme[row]], catalogue.shelf_start[states.theme[row] + 1]
    last = first + int(np.searchsorted(catalogue.shelf[first:last], there))
    for j in range(len(item)):
        for _ in range(_TRIES):
            source = uniform(states.feed, row)
            spot = uniform(states.feed, row)
            if source < _THEME_SHARE and last > first:
                page[j] = _THEME
                item[j] = catalogue.shelf[_weighted(catalogue.shelf_popular, first, last, spot)]
            elif source < _THEME_SHARE + _POPULAR_SHARE:
                page[j] = _POPULAR
                item[j] = _weighted(catalogue.popular, catalogue.page * catalogue.returning, there, spot)
            else:
                page[j] = _RANDOM
                base = catalogue.page * catalogue.returning
                item[j] = base + int(spot * (there - base))
            if states.shown[row, item[j] % RECENT] != item[j] and not _has(item[:j], item[j]):
                break


@njit(cache=True, nogil=True)
def _author_page(catalogue: Catalogue, states: States, row: int, item: I32) -> None:
    """The page of the next returning author, from a place of its own on; each user begins with another author."""
    turn = states.slates[row] // AUTHOR_PAGE_EVERY + states.user[row] * 7
    author = turn % catalogue.returning
    begin = int(uniform(states.feed, row) * catalogue.page)
    for j in range(len(item)):
        item[j] = author * catalogue.page + (begin + j) % catalogue.page


@njit(cache=True, nogil=True)
def _set_theme(people: People, states: States, row: int) -> None:
    """Keep the theme of the last slate, or draw one to the user's taste."""
    stays, spot = uniform(states.feed, row), uniform(states.feed, row)
    if states.theme[row] < 0 or stays >= _THEME_STAYS:
        shares = people.theme[states.user[row]]
        states.theme[row] = min(int(np.searchsorted(shares, spot, side="right")), len(shares) - 1)


@njit(cache=True, nogil=True)
def _weighted(running: F64, first: int, end: int, spot: float) -> int:
    """A place in [first, end) by weight, given its running total and a number in [0, 1)."""
    below = running[first - 1] if first else 0.0
    goal = below + spot * (running[end - 1] - below)
    return min(first + int(np.searchsorted(running[first:end], goal, side="right")), end - 1)


@njit(cache=True, nogil=True)
def _has(items: I32, item: int) -> bool:
    return bool((items == item).any())
