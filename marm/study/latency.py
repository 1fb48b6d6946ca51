"""How long a finished run takes to score one request."""

import time
from pathlib import Path

import numpy as np

from marm.train.score import Scorer

CANDIDATES = 500


def milliseconds(folder: Path, candidates: int = CANDIDATES, times: int = 7) -> float:
    """Median time to score so many items for the user with the most events, reading memory included."""
    scorer = Scorer(folder)
    try:
        users, items = _asked(scorer, candidates)
        took = []
        for _ in range(times + 1):
            began = time.perf_counter()
            scorer.score(users, items)
            took.append(time.perf_counter() - began)
    finally:
        scorer.close()
    return float(np.median(took[1:]) * 1000)


def _asked(scorer: Scorer, candidates: int) -> tuple[object, list[object]]:
    """The user with the most events of the log, and items of its newest events, over again where there are too few."""
    log = scorer.log
    newest = log.originals(max(len(log) - 50 * candidates, 0), len(log))
    user = newest["user"].value_counts(sort=True)["user"][0]
    items = newest["item"].unique(maintain_order=True).to_list()
    return user, (items * (-(-candidates // len(items))))[:candidates]
