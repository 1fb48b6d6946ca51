"""What a query attends to: the same pass as any other, watched."""

from dataclasses import dataclass, fields

import numpy as np
from torch import Tensor

from marm.engine.batch import Batch
from marm.engine.engine import Engine, Share, row_source
from marm.engine.search import PassSearch
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
    """The rows that it sees: those that any layer picked, then its window."""
    weight: list[F32]
    """For each layer, those side by side last: (H, N + 1), the null row last."""


def heed(engine: Engine, batch: Batch, query: int) -> Heeded:
    """Score a batch of one admitted user, and tell how each layer and head weighs what one of its queries sees."""
    with engine.model.stack.watched(np.array([query])) as noted:
        attended = engine.attend(batch)
    share = attended.shares[0]
    weight = [weight_QHN[0].float().cpu().numpy() for weight_QHN in noted]
    past = _window(batch, share, query)
    if share.search:
        picked = share.search.picked(query)
        either = np.unique(np.concatenate(picked))
        past = _joined(_picked(share.search, query, either), past)
        weight = [_among(one, at, either) for one, at in zip(weight, picked, strict=True)]
    return Heeded(attended.logit_QT, past, weight)


def _among(weight_HN: F32, position: I64, either: I64) -> F32:
    """The same weights where a layer's picks stand among all that were picked; 0 for what it did not pick."""
    picked = np.zeros((len(weight_HN), len(either)), np.float32)
    picked[:, np.searchsorted(either, position)] = weight_HN[:, : len(position)]
    return np.concatenate([picked, weight_HN[:, len(position) :]], 1)


def _picked(search: PassSearch, query: int, position: I64) -> Past:
    facts, there = search.facts(query, position)
    known = facts["known"] <= search.passed.views.asked[query]
    outcome = np.where(known, facts["outcome"], UNKNOWN).astype(np.int16)
    return Past(facts["item"], facts["time"], outcome, facts["version"].astype(np.int64), there)


def _joined(first: Past, second: Past) -> Past:
    names = [field.name for field in fields(Past)]
    return Past(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


def _window(batch: Batch, share: Share, query: int) -> Past:
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
