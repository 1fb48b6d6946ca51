"""What missing states cost: the same run, with the states of a share of its users dropped before the last fifth."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.data.ids import mix_all
from marm.data.stream import EventLog
from marm.train.replay import begun, branched
from marm.train.results import figures, write_predictions
from marm.train.trainer import Progress, Trainer


def misses(
    run: RunConfig, log: EventLog, out: Path, shares: Sequence[float], progress: Progress
) -> list[dict[str, Any]]:
    """For each share of users: hit rate while the last fifth is learned from, and its figures by task.

    Leaves the predictions of each share in a folder of ``out`` named by it.
    """
    with TemporaryDirectory(prefix="marm-") as scratch, begun(run, log, Path(scratch) / "trunk", progress) as trunk:
        trunk.cut()
        return [_one(trunk, Path(scratch) / f"{share}", out / f"{share}", share, progress) for share in shares]


def _one(trunk: Trainer, scratch: Path, out: Path, share: float, progress: Progress) -> dict[str, Any]:
    with branched(trunk, scratch) as trainer:
        users = trainer.parts.store.holding().users
        gone = users[mix_all(users) % np.uint64(1000) < np.uint64(round(1000 * share))]
        trainer.memory.drop_states(gone)
        read, found = trainer.tally.read, trainer.tally.found
        trainer.run_until(len(trainer.log), progress)
        trainer.spool.flush()
        out.mkdir(parents=True, exist_ok=True)
        write_predictions(out / "predictions.parquet", trainer.run, trainer.spool, trainer.log)
        tasks = figures(trainer.run, trainer.spool)["tasks"]
        tally = trainer.tally
    return {
        "share": share,
        "users_without_states": len(gone),
        "hit_rate": (tally.found - found) / max(tally.read - read, 1),
        "tasks": tasks,
    }
