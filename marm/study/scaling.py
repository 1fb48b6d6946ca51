"""`marm study scaling`: what more layers, rows and width buy on one log, and the law of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.errors import SettingError
from marm.study.codecs import state_bytes
from marm.study.latency import milliseconds
from marm.study.law import Fit, fit
from marm.study.models import laid_over
from marm.study.runs import Show, Trained, Training, own_memory, train_all, write_lines
from marm.types import F64

LEAST = 5
"""Places that a law of three numbers is worth fitting to."""


@dataclass(frozen=True)
class Grid:
    """Sizes to train, in every combination."""

    layers: Sequence[int]
    windows: Sequence[int]
    widths: Sequence[int]

    def places(self) -> list[tuple[int, int, int]]:
        """Layers, window and width of each; errors: ``SettingError`` where they are too few for a law."""
        found = list(product(self.layers, self.windows, self.widths))
        if len({depth * n * d for depth, n, d in found}) < LEAST:
            raise SettingError(
                f"a law needs {LEAST} places of different size or more: give more layers, windows or widths"
            )
        return found


@dataclass(frozen=True)
class Place:
    """One place of the grid, all seeds."""

    layers: int
    window: int
    width: int
    trained: list[Trained]
    milliseconds: float
    """For one request of 500 candidates."""
    gauc: float

    @property
    def numbers(self) -> int:
        """The paper's C = L n d: numbers that one user's layers read."""
        return self.layers * self.window * self.width

    @property
    def bytes(self) -> int:
        """Of one user's full ring of states."""
        return state_bytes(self.trained[0].training.run)

    @property
    def flops(self) -> int:
        """Of one event."""
        return int(self.trained[0].result["flops_per_event"])

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        first = self.trained[0].result
        return {
            "layers": self.layers,
            "window": self.window,
            "width": self.width,
            "gauc": self.gauc,
            "numbers": self.numbers,
            "bytes_per_user": self.bytes,
            "flops_per_event": self.flops,
            "milliseconds_500": self.milliseconds,
            "seeds": [one.result["seed"] for one in self.trained],
            **{key: first[key] for key in ("commit", "data_hash", "machine")},
        }


@dataclass(frozen=True)
class Scaling:
    """What came of it."""

    task: str
    places: list[Place]
    fit: Fit
    """GAUC against the numbers that one user's layers read."""

    def x(self) -> F64:
        """Numbers of each place."""
        return np.array([float(place.numbers) for place in self.places])

    def y(self) -> F64:
        """GAUC of each place."""
        return np.array([place.gauc for place in self.places])


def study_scaling(run: RunConfig, out: Path, show: Show, sizes: Grid, seeds: int = 1) -> Scaling:
    """Train every combination with every seed, and fit GAUC = a + b C^c; goes on where it was broken off."""
    run, task, grid = own_memory(run), run.positive_task, sizes.places()
    if not task:
        raise SettingError("a study compares by GAUC, which needs a binary task: add one to [tasks]")
    trainings = [
        Training(f"L{depth} n{n} d{d}", _sized(run, depth, n, d, run.train.seed + seed))
        for seed in range(seeds)
        for depth, n, d in grid
    ]
    trained = list(train_all(trainings, out, show))
    write_lines(out / "trainings.jsonl", (one.line() for one in trained))
    places = [_place(size, trained[at :: len(grid)], task) for at, size in enumerate(grid)]
    write_lines(out / "places.jsonl", (place.line() for place in places))
    x, y = (np.array([getattr(place, name) for place in places], float) for name in ("numbers", "gauc"))
    found = fit(x, y)
    write_lines(out / "law.jsonl", [law_line(found)])
    return Scaling(task, places, found)


def _sized(run: RunConfig, layers: int, window: int, width: int, seed: int) -> RunConfig:
    live = min(run.train.live, window)
    return laid_over(
        run,
        {
            "model": {"layers": layers, "width": width},
            "memory": {"window": window},
            "train": {"seed": seed, "live": live, "segment": min(run.train.segment, live)},
        },
    )


def _place(size: tuple[int, int, int], trained: list[Trained], task: str) -> Place:
    gaucs = [float(one.result["tasks"][task]["gauc"]) for one in trained]
    return Place(*size, trained, milliseconds(trained[0].folder), float(np.mean(gaucs)))


def law_line(found: Fit) -> dict[str, Any]:
    """What a result file says of a law."""
    intervals = {name: [getattr(found.law, name), *found.interval(name)] for name in ("a", "b", "c")}
    return {**intervals, "held_out_rmse": found.held_out, "mean_rmse": found.spread}
