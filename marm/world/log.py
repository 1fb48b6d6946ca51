"""A whole log: users one after another, then all events in the order of time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from marm.types import F32, I32, I64, U8
from marm.world.config import WorldConfig
from marm.world.feed import walk
from marm.world.make import World, make_world
from marm.world.outcomes import Intercepts, act, calibrate

_CHUNK = 250_000

Progress = Callable[[int], None]
"""Told how many events more are done."""


@dataclass(frozen=True)
class Log:
    """Events of all users, one user after another; ``order`` puts them in the order of time, then of users."""

    order: I64
    time: I64
    """Milliseconds."""
    user: I32
    item: I32
    page: U8
    done: U8
    """(n, 5), as ``ACTIONS``."""
    ratio: F32
    """Watch time over duration."""
    truth: F32
    """(n, 6): the true chance of each action, and the expected watch ratio."""


@dataclass(frozen=True)
class Simulation:
    """A world, what it came to, and the intercepts found for it."""

    world: World
    base: Intercepts
    log: Log


def simulate(config: WorldConfig, progress: Progress | None = None) -> Simulation:
    """Simulate ``config.events`` events; the same settings give the same bytes."""
    world = make_world(config)
    base = calibrate(world)
    n = config.events
    log = Log(
        order=np.empty(n, np.int64),
        time=np.empty(n, np.int64),
        user=np.empty(n, np.int32),
        item=np.empty(n, np.int32),
        page=np.empty(n, np.uint8),
        done=np.empty((n, 5), np.uint8),
        ratio=np.empty(n, np.float32),
        truth=np.empty((n, 6), np.float32),
    )
    at = 0
    for users in _chunks(world.counts):
        at += _fill(world, base, users, log, at)
        if progress:
            progress(int(world.counts[users].sum()))
    log.order[:] = np.argsort(log.time, kind="stable")
    return Simulation(world, base, log)


def _chunks(counts: I64) -> list[I64]:
    """Users in groups of about ``_CHUNK`` events: states of a group are all that is held beside the log."""
    group = (np.cumsum(counts) - counts) // _CHUNK
    return np.split(np.arange(len(counts)), np.flatnonzero(np.diff(group)) + 1)


def _fill(world: World, base: Intercepts, users: I64, log: Log, at: int) -> int:
    counts = world.counts[users]
    when, item, page, pull = walk(world, users, counts)
    truth, done, ratio = act(world, base, users, counts, item, pull)
    end = at + len(when)
    log.time[at:end], log.user[at:end], log.item[at:end] = when, np.repeat(users, counts), item
    log.page[at:end], log.truth[at:end], log.done[at:end], log.ratio[at:end] = page, truth, done, ratio
    return len(when)
