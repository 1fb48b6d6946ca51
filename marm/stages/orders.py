"""Orders of all items for one user after the other: by retrieval's vectors, by popularity, by co-occurrence."""

from typing import NamedTuple

import numba as nb
import numpy as np

from marm.stages.hits import rank_of
from marm.stages.rivals import stood_beside
from marm.types import F32, F64, I32, I64

ORDERS = ["retrieval", "popularity", "co_occurrence"]


class Asked(NamedTuple):
    """Whose orders: P users at a time."""

    queries_PIE: F32
    seen: I64
    """Items that are not offered again, by place, flat."""
    seen_at: I64
    """(P + 1,)."""
    last: I64
    """Newest positive items, by place, flat."""
    last_at: I64
    """(P + 1,)."""


class Known(NamedTuple):
    """What the orders come from: N items."""

    vectors_NE: F32
    popular: F64
    """(N,) from 0 to 1."""
    pairs: tuple[I32, F32, I64]
    """As in ``CoOccurrence.tables``."""


@nb.njit(cache=True, nogil=True, fastmath=True)
def best_scores(vectors_NE: F32, query_IE: F32, out: F32 | F64) -> None:
    """Every item's largest product with the vectors of one user, into ``out`` (N,); each as it would be alone."""
    for j in range(len(vectors_NE)):
        best = np.float32(-3.0e38)
        for i in range(len(query_IE)):
            total = np.float32(0.0)
            for e in range(vectors_NE.shape[1]):
                total += vectors_NE[j, e] * query_IE[i, e]
            best = max(best, total)
        out[j] = best


@nb.njit(cache=True, nogil=True)
def ranks(asked: Asked, known: Known, target: I64) -> I64:
    """Rank of each user's target in each order (3, P), 1 first; 0 where the target is not offered."""
    items, users = len(known.vectors_NE), len(asked.queries_PIE)
    scores, hidden = np.empty((3, items), np.float64), np.empty(items, np.bool_)
    out = np.zeros((3, users), np.int64)
    for p in range(users):
        if target[p] >= 0:
            _score(asked, p, known, scores)
            hidden[:] = False
            hidden[_hidden(asked, p)] = True
            for order in range(3):
                out[order, p] = rank_of(scores[order], target[p], hidden)
    return out


@nb.njit(cache=True, nogil=True)
def firsts(asked: Asked, known: Known, count: int) -> I64:
    """The first ``count`` items of retrieval's order for each user (P, count), by place; -1 where there are no more."""
    users, scores = len(asked.queries_PIE), np.empty(len(known.vectors_NE), np.float32)
    out = np.full((users, count), -1, np.int64)
    for p in range(users):
        best_scores(known.vectors_NE, asked.queries_PIE[p], scores)
        scores[_hidden(asked, p)] = -np.inf
        best = np.argsort(-scores, kind="mergesort")[:count]
        for place, j in enumerate(best):
            if scores[j] > -np.inf:
                out[p, place] = j
    return out


@nb.njit(cache=True, nogil=True)
def _score(asked: Asked, p: int, known: Known, out: F64) -> None:
    """Scores of one user in each order, into ``out`` (3, N)."""
    best_scores(known.vectors_NE, asked.queries_PIE[p], out[0])
    out[1] = known.popular
    # Where nothing stood beside, what is popular comes first.
    out[2] = known.popular * 1e-6
    partner, count, total = known.pairs
    stood_beside(partner, count, total, asked.last[asked.last_at[p] : asked.last_at[p + 1]], out[2])


@nb.njit(cache=True, nogil=True)
def _hidden(asked: Asked, p: int) -> I64:
    """Items that one user is not offered again."""
    seen = asked.seen[asked.seen_at[p] : asked.seen_at[p + 1]]
    return seen[seen >= 0]
