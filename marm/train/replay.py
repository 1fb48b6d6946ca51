"""A finished run's stream, trained anew in a scratch folder up to its last fifth, and on from there under another eye."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.train.cut import Cut
from marm.train.folder import run_of
from marm.train.setup import build, set_threads
from marm.train.trainer import Progress, Trainer

LAST = 0.8
"""Share of the stream after which the last fifth begins."""


def settings_for(folder: Path) -> RunConfig:
    """The run's settings, with memory in this process: one pass, and no cuts but those that are asked for."""
    run = run_of(folder)
    memory = run.memory.model_copy(update={"url": "arena://"})
    train = run.train.model_copy(update={"cut_every": 1 << 40, "passes": 1})
    return run.model_copy(update={"memory": memory, "train": train})


@contextmanager
def begun(folder: Path, scratch: Path, progress: Progress) -> Iterator[Trainer]:
    """A trainer that has learned from the first four fifths of the run's stream."""
    run = settings_for(folder)
    log, threads = EventLog(folder / "events"), set_threads(run)
    scratch.mkdir(parents=True)
    with closing(Trainer(run, scratch, log, build(run, log, scratch, threads), threads)) as trainer:
        trainer.start()
        trainer.run_until(int(LAST * len(log)), progress)
        yield trainer


@contextmanager
def branched(trunk: Trainer, scratch: Path) -> Iterator[Trainer]:
    """Another trainer that goes on from the newest cut of one."""
    shutil.copytree(trunk.folder, scratch)
    run, log = trunk.run, trunk.log
    with closing(Trainer(run, scratch, log, build(run, log, scratch, trunk.threads), trunk.threads)) as trainer:
        trainer.load(Cut(scratch))
        yield trainer
