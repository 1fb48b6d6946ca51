"""A run's stream once more under another eye: trained anew up to its last fifth and on from there, or only scored again."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from marm.config import RunConfig
from marm.data.journal import ItemJournal
from marm.data.stream import EventLog
from marm.metrics.spool import Spool
from marm.train.cut import Cut, load_weights
from marm.train.setup import build, set_threads
from marm.train.stepper import Stepper
from marm.train.tally import Tally
from marm.train.trainer import Progress, Trainer

LAST = 0.8
"""Share of the stream after which the last fifth begins."""


def in_process(run: RunConfig) -> RunConfig:
    """The run with memory in this process: one pass of ranking, and no cuts but those that are asked for."""
    memory = run.memory.model_copy(update={"url": "arena://"})
    train = run.train.model_copy(update={"cut_every": 1 << 40, "passes": 1})
    return run.model_copy(update={"memory": memory, "train": train})


@contextmanager
def begun(run: RunConfig, log: EventLog, scratch: Path, progress: Progress) -> Iterator[Trainer]:
    """A trainer that has learned from the first four fifths of the stream."""
    run = in_process(run)
    threads = set_threads(run)
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


def rescored(folder: Path, run: RunConfig, scratch: Path, progress: Progress) -> Spool:
    """The whole stream of a finished run scored by its newest weights; ``run`` is its own but for the codec of its states."""
    run, cut, log = in_process(run), Cut(folder), EventLog(folder / "events")
    parts = build(run, log, scratch, set_threads(run, cut.state["threads"]))
    load_weights(parts.engine.model, parts.engine.table, cut)
    parts.engine.show_items(ItemJournal(folder, log).at(cut.state.get("items", 0)))
    parts.engine.model.eval()
    parts.engine.version = cut.state["steps"]
    stepper, position = Stepper(run, log, parts.engine, None, Tally()), 0
    stepper.steps = parts.engine.version
    spool = Spool(scratch / "predictions.spool", list(run.tasks))

    def make_room() -> None:
        parts.store.append(parts.engine.memory.delta(), parts.store.last_cut() + 1)
        parts.engine.memory.saved()

    with closing(parts.store), torch.no_grad():
        while position < len(log):
            position = stepper.step(position, len(log), spool, make_room)
            progress({"events": position, "total": len(log)})
    return spool
