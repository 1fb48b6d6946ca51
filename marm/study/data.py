"""`marm study data`: is data the limit? A model that saw it all, one that learns from half of it, one that starts late.

warm    |--------------------------------|     every event learned from
half    |- - - - - - - - - - - - - - - - |     half of them, drawn by the seed; all are scored and remembered
cold                    |----------------|     weights and memory begin here, on the same stream
                        ^ the curves are compared from here on, event by event
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.errors import SettingError
from marm.study.compare import binary_tasks, seeded
from marm.study.interval import Difference, difference, scores_of, together
from marm.study.models import Sections, laid_over
from marm.study.runs import Show, Trained, Training, own_memory, train_all, write_lines

WARM = "warm"


@dataclass(frozen=True)
class Curve:
    """One model over the windows, all seeds, one task."""

    name: str
    gauc: list[float]
    above_warm: list[Difference]

    def meets(self) -> int | None:
        """The first window from which on it is not clearly below the warm model in any; None where that is none."""
        below = [gap.high < 0 for gap in self.above_warm]
        last = max((at for at, is_below in enumerate(below) if is_below), default=-1)
        return last + 1 if last + 1 < len(below) else None


@dataclass(frozen=True)
class Met:
    """What came of it."""

    trained: list[Trained]
    bounds: list[int]
    """Events of the whole stream between which windows lie: the late start first, the end last."""
    curves: dict[str, list[Curve]]
    """By task."""


def study_data(
    run: RunConfig, out: Path, show: Show, start: float = 0.5, sample: float = 0.5, windows: int = 20, seeds: int = 3
) -> Met:
    """Train the three with every seed, and compare them window by window after ``start``, a share of the stream.

    Goes on where it was broken off. Leaves a folder for each training, ``trainings.jsonl`` and ``windows.jsonl`` in ``out``.
    """
    run = own_memory(run)
    if run.data.skip:
        raise SettingError("data.skip: this study sets it itself, to start late: leave it out")
    tasks, runs = binary_tasks(run), [seeded(run, run.train.seed + number) for number in range(seeds)]
    warm = list(train_all([Training(WARM, one) for one in runs], out, show))
    events = int(warm[0].result["events"]) // run.train.passes
    skip = int(start * events)
    if not windows <= events - skip <= events - 1:
        raise SettingError(f"--start {start}: leaves {events - skip} of {events} events for {windows} windows")
    others: dict[str, Sections] = {
        f"{sample:.0%} of samples": {"train": {"sample": sample}},
        "cold": {"data": {"skip": skip, "first": events - skip}},
    }
    late = [Training(name, laid_over(one, sections)) for one in runs for name, sections in others.items()]
    trained = [*warm, *train_all(late, out, show)]
    write_lines(out / "trainings.jsonl", (one.line() for one in trained))
    bounds = np.linspace(skip, events, windows + 1).astype(int).tolist()
    curves = {task: _curves(trained, task, bounds) for task in tasks}
    write_lines(out / "windows.jsonl", _lines(curves, bounds, trained[0].result))
    return Met(trained, bounds, curves)


def _curves(trained: Sequence[Trained], task: str, bounds: Sequence[int]) -> list[Curve]:
    names = list(dict.fromkeys(one.name for one in trained))
    folders = {name: [one.folder for one in trained if one.name == name] for name in names}
    found = {name: [scores_of(folder, task) for folder in folders[name]] for name in names}
    aucs = {
        name: [
            # Counted from the end, which is the same event in all.
            together(
                [one.aucs(len(one.first) - (bounds[-1] - a), len(one.first) - (bounds[-1] - b)) for one in ones],
                folders[name],
            )
            for a, b in itertools.pairwise(bounds)
        ]
        for name, ones in found.items()
    }
    return [
        Curve(name, [one.gauc for one in own], [difference(one, w) for one, w in zip(own, aucs[WARM], strict=True)])
        for name, own in aucs.items()
    ]


def _lines(curves: dict[str, list[Curve]], bounds: Sequence[int], first: dict[str, Any]) -> list[dict[str, Any]]:
    told = {key: first[key] for key in ("commit", "data_hash", "machine")}
    return [
        {
            "task": task,
            "model": one.name,
            "begin": bounds[at],
            "end": bounds[at + 1],
            "gauc": gauc,
            "above_warm": gap.line(),
            **told,
        }
        for task, ones in curves.items()
        for one in ones
        for at, (gauc, gap) in enumerate(zip(one.gauc, one.above_warm, strict=True))
    ]
