"""`marm study rivals`: MARM and what it competes with, on one log, each tuned over the same grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marm.config import RunConfig
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.errors import FolderError, SettingError
from marm.report.text import number
from marm.study.grid import at, default_grid, points
from marm.study.interval import Difference, UserAucs, difference, user_aucs
from marm.study.latency import milliseconds
from marm.study.models import chosen, laid_over
from marm.study.runs import Show, Trained, Training, own_memory, train_all, write_lines

TUNED_ON = 0.4
"""Share of the log, its beginning, that settings are chosen on; nothing is chosen on the last fifth."""

Point = tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """One model of a study, all seeds."""

    name: str
    trained: list[Trained]
    milliseconds: float
    """For one request of 500 candidates."""
    aucs: dict[str, UserAucs]
    """By binary task."""
    above_marm: dict[str, Difference]
    """Its GAUC less MARM's, by task; empty for MARM itself."""

    @property
    def point(self) -> Point:
        """The place on the grid that was best for it."""
        return self.trained[0].training.point

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        first = self.trained[0].result
        return {
            "model": self.name,
            "point": list(self.point),
            "seeds": [one.result["seed"] for one in self.trained],
            "gauc": {task: aucs.gauc for task, aucs in self.aucs.items()},
            "above_marm": {t: [d.value, d.low, d.high] for t, d in self.above_marm.items()},
            "milliseconds_500": self.milliseconds,
            **{key: first[key] for key in ("flops_per_event", "commit", "data_hash", "machine")},
        }


@dataclass(frozen=True)
class Study:
    """What came of it."""

    run: RunConfig
    places: list[Point]
    models: list[Compared]


def study_rivals(
    run: RunConfig, out: Path, show: Show, models: str | None = None, seeds: int = 3, grid: Sequence[str] | None = None
) -> Study:
    """Tune each model on the log's beginning, train it whole with every seed, compare; goes on where it was broken off.

    ``models``: names with commas between, all where none are given; ``grid``: lines of ``section.key=value,value``.
    Leaves a folder for each training, ``trainings.jsonl`` and ``models.jsonl`` in ``out``.
    """
    run = own_memory(run)
    if not _binary(run):
        raise SettingError("a study compares by GAUC, which needs a binary task: add one to [tasks]")
    places = points(default_grid(run) if grid is None else grid)
    best = _best_places(run, out, show, models, places)
    whole = [
        Training(name, seeded(one, run.train.seed + number), point)
        for number in range(seeds)
        for name, (point, one) in best.items()
    ]
    trained = list(train_all(whole, out, show))
    write_lines(out / "trainings.jsonl", (one.line() for one in trained))
    compared = compare(trained, _binary(run))
    write_lines(out / "models.jsonl", (one.line() for one in compared))
    return Study(run, places, compared)


def seeded(run: RunConfig, seed: int) -> RunConfig:
    """The run with another seed."""
    return laid_over(run, {"train": {"seed": seed}})


def _binary(run: RunConfig) -> list[str]:
    """Binary tasks, the main one first."""
    main = run.positive_task
    return [main, *(n for n, t in run.tasks.items() if t.kind == "binary" and n != main)] if main else []


def _best_places(
    run: RunConfig, out: Path, show: Show, models: str | None, places: list[Point]
) -> dict[str, tuple[Point, RunConfig]]:
    """Each model's best place on the grid, by the main task's GAUC on the last fifth of the log's beginning."""
    grid = {point: chosen(at(run, point), models) for point in places}
    if len(places) == 1:
        return {name: (places[0], one) for name, one in grid[places[0]].items()}
    first = beginning(run, out)
    trials = [
        Training(name, laid_over(one, {"data": {"first": first}}), point)
        for point, runs in grid.items()
        for name, one in runs.items()
    ]
    tried = list(train_all(trials, out, show))
    write_lines(out / "trials.jsonl", (one.line() for one in tried))
    best = {}
    for name in grid[places[0]]:
        own = [one for one in tried if one.name == name]
        point = max(own, key=lambda one: _gauc(one, run.positive_task)).training.point
        best[name] = (point, grid[point][name])
    return best


def _gauc(one: Trained, task: str) -> float:
    found = number(one.result["tasks"][task]["gauc"])
    return found if found == found else -1.0


def beginning(run: RunConfig, out: Path) -> int:
    """How many events the log's beginning has, which settings are chosen on."""
    if not (out / "events").exists():
        out.mkdir(parents=True, exist_ok=True)
        prepare(run, out / "events")
    return max(int(TUNED_ON * len(EventLog(out / "events"))), 1)


def compare(trained: list[Trained], tasks: list[str]) -> list[Compared]:
    """Each model beside MARM. Errors: ``FolderError`` where a training read another log."""
    for one in trained:
        if one.result["data_hash"] != trained[0].result["data_hash"]:
            raise FolderError(f"{one.folder}: trained on a log that has changed since: name a new folder for the study")
    names = list(dict.fromkeys(one.name for one in trained))
    own = {name: [one for one in trained if one.name == name] for name in names}
    aucs = {name: {task: user_aucs([one.folder for one in ones], task) for task in tasks} for name, ones in own.items()}
    marm = aucs["marm"]
    return [
        Compared(
            name,
            own[name],
            milliseconds(own[name][0].folder),
            aucs[name],
            {} if name == "marm" else {task: difference(aucs[name][task], marm[task]) for task in tasks},
        )
        for name in names
    ]
