"""`marm study segments`: how segments form by the live cap and the micro-batch, and what that does to quality and speed."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from marm.study.compare import Compared
from marm.study.models import Sections
from marm.study.runs import Show
from marm.study.variants import Design, Figures
from marm.train.tally import quantile

BASE = "as set"


def segments(lives: Sequence[int], batches: Sequence[int]) -> Design:
    """Every live cap with every micro-batch, as segments fall; and each live cap's segments gathered until they are full."""
    variants: dict[str, Sections] = {BASE: {}}
    for live, batch in product(lives, batches):
        variants[f"live {live}, steps of {batch}"] = _train(live=live, micro_batch=batch, segment=0)
    for live in lives:
        if live > 1:
            variants[f"live {live}, gathered"] = _train(live=live, segment=live)
    note = (
        "Length: events of one user that are learned from in one pass; half of the segments are as long as p50 or less, nine "
        "in ten as p90. A step takes at most one in train.updates of the events so far, so a short log never fills a large one."
    )
    return Design(
        "How segments form", BASE, variants, note, _lengths, dict.fromkeys(("mean length", "p50", "p90"), _told)
    )


def _train(**settings: int) -> Sections:
    return {"train": dict(settings)}


def _lengths(model: Compared, _: Path, __: Show) -> Figures:
    counts = np.sum([one.result["segments"]["counts"] for one in model.trained], axis=0)
    mean = float(counts @ np.arange(1, len(counts) + 1) / max(counts.sum(), 1))
    return {"mean length": mean, "p50": 1 + (quantile(counts, 0.5) or 0), "p90": 1 + (quantile(counts, 0.9) or 0)}


def _told(value: float) -> str:
    return f"{value:.3g}"
