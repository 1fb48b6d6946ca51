"""`marm study rivals`: MARM and what it competes with, on one log, each tuned over the same grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marm.config import RunConfig
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.report.text import number
from marm.study.compare import Compared, binary_tasks, compare, seeded
from marm.study.grid import at, default_grid, points
from marm.study.models import chosen, laid_over
from marm.study.runs import Show, Trained, Training, own_memory, train_all, write_lines

TUNED_ON = 0.4
"""Share of the log, its beginning, that settings are chosen on; nothing is chosen on the last fifth."""

Point = tuple[str, ...]


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
    tasks = binary_tasks(run)
    places = points(default_grid(run) if grid is None else grid)
    best = _best_places(run, out, show, models, places)
    whole = [
        Training(name, seeded(one, run.train.seed + number), point)
        for number in range(seeds)
        for name, (point, one) in best.items()
    ]
    trained = list(train_all(whole, out, show))
    write_lines(out / "trainings.jsonl", (one.line() for one in trained))
    compared = compare(trained, tasks, "marm", run.memory.window)
    write_lines(out / "models.jsonl", (one.line() for one in compared))
    return Study(run, places, compared)


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
