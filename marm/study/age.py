"""`marm study age`: the last fifth scored by remembered states and by the same made anew, by how old the rows read were."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.study.compare import binary_tasks, seeded
from marm.study.interval import Difference, aucs_of, difference_within_seeds, together
from marm.study.models import must_be_marm
from marm.study.runs import Show, write_lines
from marm.train.age import score_both_ways
from marm.train.run import provenance

PARTS = 5
"""Ages are told in as many parts of equal size."""


@dataclass(frozen=True)
class Aged:
    """Events that read states of about one age, all seeds."""

    events: int
    """Of one seed."""
    steps: float
    """Mean age of what they read: steps of the weights since it was made."""
    remembered: float
    """GAUC."""
    fresh: float
    gap: Difference
    """GAUC of fresh states less that of remembered ones."""
    drift: float
    """Mean change of the log odds when states are made anew."""

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        figures = {name: getattr(self, name) for name in ("events", "steps", "remembered", "fresh", "drift")}
        return {**figures, "gap": self.gap.line()}


def study_age(run: RunConfig, log: EventLog, out: Path, show: Show, seeds: int = 3) -> dict[str, list[Aged]]:
    """By task: all events that read a state, then these in parts by age; goes on with the seed it broke off in.

    Leaves both scores of every event for each seed, and ``age.jsonl``, in ``out``.
    """
    must_be_marm(run)
    tasks, files = binary_tasks(run), []
    for seed in range(run.train.seed, run.train.seed + seeds):
        files.append(out / "replays" / f"seed-{seed}.parquet")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        if not files[-1].exists():
            with show(f"age, seed {seed}") as progress:
                score_both_ways(seeded(run, seed), log, files[-1], progress)
    frames = [frame.filter(pl.col("age").is_finite()) for frame in map(pl.read_parquet, files)]
    found = {task: by_age(frames, files, task) for task in tasks}
    told = provenance(run, log)
    write_lines(out / "age.jsonl", ({"task": t, **one.line(), **told} for t, ones in found.items() for one in ones))
    return found


def by_age(frames: Sequence[pl.DataFrame], files: Sequence[Path], task: str) -> list[Aged]:
    """All events, then parts of equal size by rising age: which events are in a part is the first seed's to say."""
    age = frames[0]["age"].to_numpy()
    if not len(age):
        return []
    bounds = np.quantile(age, np.linspace(0, 1, PARTS + 1))
    part = np.searchsorted(bounds[1:-1], age, side="right")
    masks = [np.ones(len(age), bool), *(part == number for number in range(PARTS))]
    return [_aged([frame.filter(mask) for frame in frames], files, task) for mask in masks if mask.any()]


def _aged(frames: Sequence[pl.DataFrame], files: Sequence[Path], task: str) -> Aged:
    old, new = (
        together(
            [
                aucs_of(*(frame[name].to_numpy() for name in ("user", f"{way}_{task}", f"label_{task}")))
                for frame in frames
            ],
            files,
        )
        for way in ("remembered", "fresh")
    )
    steps = float(np.mean([frame["age"].to_numpy().mean() for frame in frames]))
    drift = float(np.mean([(f[f"fresh_{task}"] - f[f"remembered_{task}"]).abs().to_numpy().mean() for f in frames]))
    return Aged(len(frames[0]), steps, old.gauc, new.gauc, difference_within_seeds(new, old), drift)
