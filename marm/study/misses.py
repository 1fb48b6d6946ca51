"""`marm study misses`: GAUC against the share of states that are found, as users' states are dropped before the last fifth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.study.compare import binary_tasks, seeded
from marm.study.interval import Difference, UserAucs, difference_within_seeds, user_aucs
from marm.study.models import must_be_marm
from marm.study.runs import Show, kept, write_lines
from marm.train.misses import misses
from marm.train.run import provenance

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the users, whose states are dropped; the first is what all are compared with."""


@dataclass(frozen=True)
class Missed:
    """One share of users without states, all seeds."""

    share: float
    hit_rate: float
    """Mean over seeds, while the last fifth is learned from."""
    aucs: dict[str, UserAucs]
    below: dict[str, Difference]
    """Its GAUC less that of the whole memory, by task."""

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        gauc = {task: aucs.gauc for task, aucs in self.aucs.items()}
        below = {task: gap.line() for task, gap in self.below.items()}
        return {"share": self.share, "hit_rate": self.hit_rate, "gauc": gauc, "above_whole": below}


def study_misses(
    run: RunConfig, log: EventLog, out: Path, show: Show, seeds: int = 3, shares: Sequence[float] = SHARES
) -> list[Missed]:
    """Learn the stream with every seed, and its last fifth once for each share; goes on with the seed it broke off in.

    Leaves the predictions of each seed and share, and ``misses.jsonl``, in ``out``.
    """
    must_be_marm(run)
    tasks, runs = binary_tasks(run), [seeded(run, run.train.seed + number) for number in range(seeds)]
    hits = [_of_seed(one, log, out, shares, show) for one in runs]
    aucs = {
        share: {task: user_aucs([_place(out, one) / f"{share}" for one in runs], task) for task in tasks}
        for share in shares
    }
    whole = aucs[shares[0]]
    every = [
        Missed(
            share,
            float(np.mean([hit[at] for hit in hits])),
            aucs[share],
            {task: difference_within_seeds(aucs[share][task], whole[task]) for task in tasks},
        )
        for at, share in enumerate(shares)
    ]
    write_lines(out / "misses.jsonl", ({**one.line(), **provenance(run, log)} for one in every))
    return every


def _place(out: Path, run: RunConfig) -> Path:
    return out / "replays" / f"seed-{run.train.seed}"


def _of_seed(run: RunConfig, log: EventLog, out: Path, shares: Sequence[float], show: Show) -> list[float]:
    """Hit rate at each share."""
    place = _place(out, run)

    def measure() -> dict[str, Any]:
        with show(f"misses, seed {run.train.seed}") as progress:
            return {"shares": misses(run, log, place, shares, progress)}

    found = kept(place / f"misses-{'-'.join(map(str, shares))}.json", measure)
    return [line["hit_rate"] for line in found["shares"]]
