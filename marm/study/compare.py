"""Trained models side by side: each one's figures over its seeds, and its difference to one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marm.config import RunConfig
from marm.errors import FolderError, SettingError
from marm.study.interval import Difference, UserAucs, difference, scores_of, together, user_aucs
from marm.study.latency import milliseconds
from marm.study.models import laid_over
from marm.study.runs import Trained


@dataclass(frozen=True)
class Part:
    """Some of the measured events, by how many their user had before."""

    name: str
    past: str
    """How many they had."""
    aucs: UserAucs
    above: Difference | None
    """None for the model that all are compared with."""

    @property
    def scored(self) -> int:
        """Events and drawn rows that count: those of users with both outcomes among them."""
        return int(self.aucs.sizes.sum())

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        above = self.above and self.above.line()
        return {"past": self.past, "scored": self.scored, "gauc": self.aucs.gauc, "above": above}


@dataclass(frozen=True)
class Compared:
    """One model of a study, all seeds."""

    name: str
    trained: list[Trained]
    milliseconds: float
    """For one request of 500 candidates."""
    aucs: dict[str, UserAucs]
    """By binary task."""
    above: dict[str, Difference]
    """Its GAUC less that of the model all are compared with, by task; empty for that model itself."""
    parts: list[Part]
    """New users and warm ones apart, of the first task; who has no measured event with both outcomes is left out."""

    @property
    def point(self) -> tuple[str, ...]:
        """Its place on the grid, where it was tuned."""
        return self.trained[0].training.point

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        first = self.trained[0].result
        return {
            "model": self.name,
            "point": list(self.point),
            "seeds": [one.result["seed"] for one in self.trained],
            "gauc": {task: aucs.gauc for task, aucs in self.aucs.items()},
            "above": {task: gap.line() for task, gap in self.above.items()},
            "parts": {part.name: part.line() for part in self.parts},
            "milliseconds_500": self.milliseconds,
            **{key: first[key] for key in ("flops_per_event", "commit", "data_hash", "machine")},
        }


def binary_tasks(run: RunConfig) -> list[str]:
    """Binary tasks, the main one first. Errors: ``SettingError`` where there is none."""
    main = run.positive_task
    if not main:
        raise SettingError("a study compares by GAUC, which needs a binary task: add one to [tasks]")
    return [main, *(name for name, task in run.tasks.items() if task.kind == "binary" and name != main)]


def seeded(run: RunConfig, seed: int) -> RunConfig:
    """The run with another seed."""
    return laid_over(run, {"train": {"seed": seed}})


def compare(trained: Sequence[Trained], tasks: Sequence[str], base: str, window: int) -> list[Compared]:
    """Each model beside the one named; new users are those with fewer than ``window`` events before.

    Errors: ``FolderError`` where a training read another log.
    """
    for one in trained:
        if one.result["data_hash"] != trained[0].result["data_hash"]:
            raise FolderError(f"{one.folder}: trained on a log that has changed since: name a new folder for the study")
    names = list(dict.fromkeys(one.name for one in trained))
    own = {name: [one for one in trained if one.name == name] for name in names}
    aucs, past = {}, {}
    for name, ones in own.items():
        aucs[name], past[name] = _aucs([one.folder for one in ones], tasks, window)
    called = ("new", f"fewer than {window} events before"), ("warm", f"{window} or more")
    return [
        Compared(
            name,
            own[name],
            milliseconds(own[name][0].folder),
            aucs[name],
            {} if name == base else {task: difference(aucs[name][task], aucs[base][task]) for task in tasks},
            [
                Part(*part, mine, None if name == base else difference(mine, others))
                for part, mine, others in zip(called, past[name], past[base], strict=True)
                if len(mine.users)
            ],
        )
        for name in names
    ]


def _aucs(
    folders: Sequence[Path], tasks: Sequence[str], window: int
) -> tuple[dict[str, UserAucs], tuple[UserAucs, UserAucs]]:
    """One model's by task, and those of the first task among new users and among warm ones."""
    main, *others = tasks
    scores = [scores_of(folder, main) for folder in folders]
    new, warm = zip(*(one.last_fifth_by_past(window) for one in scores), strict=True)
    aucs = {main: together([one.last_fifth() for one in scores], folders)}
    aucs |= {task: user_aucs(folders, task) for task in others}
    return aucs, (together(new, folders), together(warm, folders))
