"""`marm study scaling`: what more layers, rows and width buy on one log, and the law of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marm.config import RunConfig
from marm.errors import SettingError
from marm.study.codecs import state_bytes
from marm.study.latency import milliseconds
from marm.study.law import LETTERS, Fit, Places, fit
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
    picked: Sequence[int] = ()
    """Rows that a search picks (K), 0 for no search; none given: the run's own."""

    def places(self, run: RunConfig) -> list["Size"]:
        """Errors: ``SettingError`` where they are too few for a law, or ``run`` does not say how to search."""
        if any(self.picked) and run.memory.search is None:
            raise SettingError("--picked wants a rule to search by: add [memory.search] to the run file")
        own = run.memory.search.picked if run.memory.search else 0
        found = [Size(*size) for size in product(self.layers, self.windows, self.widths, self.picked or [own])]
        if len({size.numbers for size in found}) < LEAST:
            raise SettingError(
                f"a law needs {LEAST} places of different size or more: give more layers, windows or widths"
            )
        return found


class Size(NamedTuple):
    """What a place of the grid is."""

    layers: int
    window: int
    width: int
    picked: int
    """K of the search; 0 without one."""

    @property
    def numbers(self) -> int:
        """The paper's C = L n d: numbers that one user's layers read of the window."""
        return self.layers * self.window * self.width

    def over(self, run: RunConfig) -> RunConfig:
        """``run`` of this size."""
        live = min(run.train.live, self.window)
        search = run.memory.search
        found = search.model_copy(update={"picked": self.picked}).model_dump() if search and self.picked else None
        return laid_over(
            run,
            {
                "model": {"layers": self.layers, "width": self.width},
                "memory": {"window": self.window, "search": found},
                "train": {"live": live, "segment": min(run.train.segment, live)},
            },
        )


def places_of(sizes: Sequence[Size]) -> Places:
    """What a law is told of them."""
    columns = [(size.numbers, size.layers, size.picked) for size in sizes]
    return Places(*np.array(columns, np.float64).T)


@dataclass(frozen=True)
class Place:
    """One place of the grid, all seeds."""

    size: Size
    trained: list[Trained]
    milliseconds: float
    """For one request of 500 candidates."""
    gauc: float

    @property
    def search(self) -> dict[str, Any] | None:
        """How it searches."""
        found = self.trained[0].training.run.memory.search
        return found.model_dump(exclude_none=True) if found else None

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
            **self.size._asdict(),
            "search": self.search,
            "gauc": self.gauc,
            "numbers": self.size.numbers,
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

    @property
    def at(self) -> Places:
        """What the law is told of them."""
        return places_of([place.size for place in self.places])

    @property
    def gauc(self) -> F64:
        """Of each place (P,)."""
        return np.array([place.gauc for place in self.places])


def study_scaling(run: RunConfig, out: Path, show: Show, sizes: Grid, seeds: int = 1) -> Scaling:
    """Train every combination with every seed, and fit the law; goes on where it was broken off."""
    run, task = own_memory(run), run.positive_task
    grid = sizes.places(run)
    if not task:
        raise SettingError("a study compares by GAUC, which needs a binary task: add one to [tasks]")
    trainings = [
        Training(_name(size), laid_over(size.over(run), {"train": {"seed": run.train.seed + seed}}))
        for seed in range(seeds)
        for size in grid
    ]
    trained = list(train_all(trainings, out, show))
    write_lines(out / "trainings.jsonl", (one.line() for one in trained))
    places = [_place(size, trained[at :: len(grid)], task) for at, size in enumerate(grid)]
    write_lines(out / "places.jsonl", (place.line() for place in places))
    found = fit(places_of(grid), np.array([place.gauc for place in places]))
    write_lines(out / "law.jsonl", [law_line(found)])
    return Scaling(task, places, found)


def _name(size: Size) -> str:
    return f"L{size.layers} n{size.window} d{size.width}" + (f" K{size.picked}" if size.picked else "")


def _place(size: Size, trained: list[Trained], task: str) -> Place:
    gaucs = [float(one.result["tasks"][task]["gauc"]) for one in trained]
    return Place(size, trained, milliseconds(trained[0].folder), float(np.mean(gaucs)))


def law_line(found: Fit) -> dict[str, Any]:
    """What a result file says of a law."""
    intervals: dict[str, Any] = {name: [getattr(found.law, name), *found.interval(name)] for name in LETTERS}
    return {**intervals, "held_out_rmse": found.held_out, "mean_rmse": found.spread}
