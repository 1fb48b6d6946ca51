"""The final order with retrieval in it: ranking knows what is liked of what is shown, retrieval what is picked of all."""

import numpy as np

from marm.types import F64, I64

_FIRST = 60.0
"""As in Cormack et al. 2009: how little the first few ranks differ."""


def fused(score: F64, found: I64 | None, share: float) -> F64:
    """Scores (..., C) by which candidates are put in order, with a share for their ranks ``found`` (1 first) in retrieval's.

    Reciprocal ranks of both orders are added. Without ``found``, or with no share, it is the score itself; what has none
    (minus infinity) has none then either.
    """
    if found is None or not share:
        return score
    rank = np.empty(score.shape, np.int64)
    order = np.argsort(-score, axis=-1, kind="stable")
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(1, score.shape[-1] + 1), score.shape), axis=-1)
    both: F64 = (1 - share) / (_FIRST + rank) + share / (_FIRST + found)
    return np.where(np.isfinite(score), both, -np.inf)
