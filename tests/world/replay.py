"""The effects once more, in plain Python from the log alone, to check the simulation against."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from marm.types import F64
from marm.world import Simulation, WorldConfig, simulate

Seen = list[tuple[int, int]]
"""A user's exposures before a slate: (item, category)."""


def make(*effects: str, **settings: float) -> Simulation:
    """A small log; the same exposures whatever the effects (``long`` aside)."""
    return simulate(WorldConfig(users=40, items=400, events=12_000, effects=effects, **settings))  # type: ignore[arg-type]


def slates(simulation: Simulation) -> Iterator[tuple[int, int, int]]:
    """User, first row and end of each slate, users one after another."""
    log = simulation.log
    new = (np.diff(log.time) != 0) | (np.diff(log.user) != 0)
    edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(log.time)]
    for first, end in pairwise(edges):
        yield int(log.user[first]), first, end


def effect_of(simulation: Simulation, still: Simulation) -> F64:
    """What effects add to the logit of a click, beside the same log without them."""
    return _logits(simulation) - _logits(still)


def _logits(simulation: Simulation) -> F64:
    chance = simulation.log.truth[:, 0].astype(np.float64)
    return np.asarray(np.log(chance / (1 - chance)) - simulation.base.click)


def replayed(simulation: Simulation, effect: Callable[[Simulation, Seen, int], float]) -> F64:
    """An effect of every event, given what its user saw in slates before."""
    categories = simulation.world.catalogue.category
    seen: dict[int, Seen] = {}
    out = np.zeros(len(simulation.log.item))
    for user, first, end in slates(simulation):
        before = seen.setdefault(user, [])
        for row in range(first, end):
            out[row] = effect(simulation, before, int(categories[simulation.log.item[row]]))
        before += [(int(item), int(categories[item])) for item in simulation.log.item[first:end]]
    return out


def follower(seen: Seen, category: int) -> int | None:
    """The category shown right after the last finished run of a category."""
    for place in range(len(seen) - 2, -1, -1):
        if seen[place][1] == category and seen[place + 1][1] != category:
            return seen[place + 1][1]
    return None


def order(simulation: Simulation, seen: Seen, category: int) -> float:
    turns, after = simulation.world.catalogue.turns, follower(seen, category)
    return 0.0 if after is None else float(turns[category, 0] * turns[after, 1])
