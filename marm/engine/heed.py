"""What a query attends to: the same pass as any other, watched."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from marm.engine.batch import Batch
from marm.engine.engine import Engine, Share, row_source
from marm.model.inputs import Pass
from marm.nn.views import UNKNOWN
from marm.types import F32, I16, I64, U64, Bool

LIVE = -1
"""Version of a row that is made in the pass."""


@dataclass(frozen=True)
class Past:
    """Rows of one user's history, oldest first (N)."""

    item: U64
    time: I64
    """Microseconds."""
    outcome: I16
    """Code; unknown where it was not known yet."""
    version: I64
    """Completed steps of the weights that made a remembered row; ``LIVE`` for others."""
    there: Bool
    """Whether there is a state; for live rows it is made in the pass."""

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class Heeded:
    """One query of a batch, explained."""

    logit_QT: Tensor
    """Of all queries."""
    past: Past
    """The rows that it sees."""
    weight: list[F32]
    """For each layer, those side by side last: (H, N + 1), the null row last."""


def heed(engine: Engine, batch: Batch, query: int) -> Heeded:
    """Score a batch of one admitted user, and tell how each layer and head weighs what one of its queries sees."""
    with engine.model.stack.watched(np.array([query])) as noted:
        attended = engine.attend(batch)
    past = _past(batch, attended.shares[0], query)
    return Heeded(attended.logit_QT, past, [weight_QHN[0].float().cpu().numpy() for weight_QHN in noted])


def _past(batch: Batch, share: Share, query: int) -> Past:
    views, state, recalled = share.layout.views, share.layout.state_of_row, share.recalled
    seen = np.arange(int(views.begin[query]), int(views.end[query]))
    live = (state < 0) & (state != Pass.MISSING)
    version = np.full(len(state), LIVE)
    version[~live] = recalled.facts["version"]
    known = views.known[seen] <= views.asked[query]
    return Past(
        row_source(share.layout, seen, recalled, batch)[0],
        views.time[seen],
        np.where(known, views.outcome[seen], UNKNOWN).astype(np.int16),
        version[seen],
        state[seen] != Pass.MISSING,
    )
