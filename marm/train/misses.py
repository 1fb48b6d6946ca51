"""What missing states cost: the same run, with the states of a share of its users dropped before the last fifth."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from marm.data.ids import mix_all
from marm.train.replay import begun, branched
from marm.train.results import figures
from marm.train.trainer import Trainer

SHARES = (0.0, 0.25, 0.5, 1.0)


def misses(
    folder: Path, progress: Callable[[dict[str, Any]], None], shares: tuple[float, ...] = SHARES
) -> list[dict[str, Any]]:
    """For each share of users: hit rate while the last fifth is learned from, and its figures by task."""
    with TemporaryDirectory(prefix="marm-") as scratch, begun(folder, Path(scratch) / "trunk", progress) as trunk:
        trunk.cut()
        return [_one(trunk, Path(scratch) / f"{share}", share, progress) for share in shares]


def _one(trunk: Trainer, scratch: Path, share: float, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    with branched(trunk, scratch) as trainer:
        users = trainer.parts.store.holding().users
        gone = users[mix_all(users) % np.uint64(1000) < np.uint64(round(1000 * share))]
        trainer.memory.drop_states(gone)
        read, found = trainer.tally.read, trainer.tally.found
        trainer.run_until(len(trainer.log), progress)
        trainer.spool.flush()
        tasks = figures(trainer.run, trainer.spool)["tasks"]
        tally = trainer.tally
    return {
        "share": share,
        "users_without_states": len(gone),
        "hit_rate": (tally.found - found) / max(tally.read - read, 1),
        "tasks": tasks,
    }
