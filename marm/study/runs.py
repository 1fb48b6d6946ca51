"""Trainings of a study: each a run folder, named by its settings; finished ones are read, broken-off ones taken up."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marm.config import RunConfig, StagesConfig
from marm.errors import FolderError
from marm.files import write_text
from marm.train import run as commands
from marm.train.results import config_hash
from marm.train.trainer import Progress

Show = Callable[[str], AbstractContextManager[Progress]]
"""Opens the progress of one training by its name."""


@dataclass(frozen=True)
class Training:
    """One training of a study."""

    name: str
    """Of its model."""
    run: RunConfig
    point: tuple[str, ...] = ()
    """The place on the grid."""

    def folder(self, out: Path) -> Path:
        """Where it lies: no two settings share a place."""
        return out / "runs" / f"{self.name.replace(' ', '_')}-{config_hash(self.run)}"


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    training: Training
    folder: Path
    result: dict[str, Any]

    @property
    def name(self) -> str:
        """Of its model."""
        return self.training.name

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        figures = {key: value for key, value in self.result.items() if key not in ("config", "age", "segments")}
        return {"model": self.name, "point": list(self.training.point), "folder": self.folder.name, **figures}


def own_memory(run: RunConfig) -> RunConfig:
    """The run with a store inside its own folder, one pass of ranking alone: nothing is shared between trainings."""
    url = run.memory.url if run.memory.url.startswith("arena:") else "lmdb://memory"
    memory = run.memory.model_copy(update={"url": url})
    return run.model_copy(update={"memory": memory, "stages": StagesConfig()})


def train_all(trainings: Iterable[Training], out: Path, show: Show) -> Iterator[Trained]:
    """Each training's result in turn, from its folder where it is finished."""
    every = list(trainings)
    for number, training in enumerate(every, 1):
        folder = training.folder(out)
        with show(f"{number}/{len(every)} {training.name}, seed {training.run.train.seed}") as progress:
            yield Trained(training, folder, _train(training, folder, progress))


def _train(training: Training, folder: Path, progress: Progress) -> dict[str, Any]:
    if not (folder / "run.toml").exists():
        return commands.train(training.run, folder, progress, page=False)
    if config_hash(commands.run_of(folder)) != config_hash(training.run):
        raise FolderError(f"{folder}: holds another run than its name says: move it away, and start the study again")
    return commands.resume(folder, progress, page=False)


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier start measured and left at ``path``; else it is measured now, and left there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(measure()))
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """A file of JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
