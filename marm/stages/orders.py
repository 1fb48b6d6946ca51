"""Orders of all items for one user after the other: by retrieval's vectors, by popularity, by co-occurrence."""

from dataclasses import dataclass

import numba as nb
import numpy as np

from marm.stages.hits import rank_of
from marm.stages.rivals import stood_beside
from marm.types import F32, F64, I32, I64

ORDERS = ["retrieval", "popularity", "co_occurrence"]


@dataclass(frozen=True)
class Asked:
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


@dataclass(frozen=True)
class Known:
    """What the orders come from: N items."""

    vectors_NE: F32
    popular: F64
    """(N,) from 0 to 1."""
    pairs: tuple[I32, F32, I64]
    """As in ``CoOccurrence.tables``."""


def ranks(asked: Asked, known: Known, target: I64) -> I64:
    """Rank of each user's target in each order (3, P), 1 first; 0 where the target is not offered."""
    found: I64 = _ranks(*_flat(asked), known.vectors_NE, known.popular, *known.pairs, target)
    return found


def firsts(asked: Asked, known: Known, count: int) -> I64:
    """The first ``count`` items of retrieval's order for each user (P, count), by place; -1 where there are no more."""
    found: I64 = _firsts(asked.queries_PIE, asked.seen, asked.seen_at, known.vectors_NE, count)
    return found


def _flat(asked: Asked) -> tuple[F32, I64, I64, I64, I64]:
    return asked.queries_PIE, asked.seen, asked.seen_at, asked.last, asked.last_at


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
def _scores(queries, seen, seen_at, last, last_at, vectors, popular, partner, count, total, p, out, hidden):  # type: ignore[no-untyped-def]
    """Scores of one user in each order, into ``out`` (3, N), and what is hidden."""
    best_scores(vectors, queries[p], out[0])
    out[1] = popular
    # Where nothing stood beside, what is popular comes first.
    out[2] = popular * 1e-6
    stood_beside(partner, count, total, last[last_at[p] : last_at[p + 1]], out[2])
    hidden[:] = False
    for j in range(seen_at[p], seen_at[p + 1]):
        if seen[j] >= 0:
            hidden[seen[j]] = True


@nb.njit(cache=True, nogil=True)
def _ranks(queries, seen, seen_at, last, last_at, vectors, popular, partner, count, total, target):  # type: ignore[no-untyped-def]
    items = len(vectors)
    scores, hidden = np.empty((3, items), np.float64), np.empty(items, np.bool_)
    out = np.zeros((3, len(queries)), np.int64)
    for p in range(len(queries)):
        if target[p] >= 0:
            _scores(queries, seen, seen_at, last, last_at, vectors, popular, partner, count, total, p, scores, hidden)
            for order in range(3):
                out[order, p] = rank_of(scores[order], target[p], hidden)
    return out


@nb.njit(cache=True, nogil=True)
def _firsts(queries, seen, seen_at, vectors, most):  # type: ignore[no-untyped-def]
    scores = np.empty(len(vectors), np.float32)
    out = np.full((len(queries), most), -1, np.int64)
    for p in range(len(queries)):
        best_scores(vectors, queries[p], scores)
        for j in range(seen_at[p], seen_at[p + 1]):
            if seen[j] >= 0:
                scores[seen[j]] = -np.inf
        best = np.argsort(-scores, kind="mergesort")[:most]
        for place, j in enumerate(best):
            if scores[j] > -np.inf:
                out[p, place] = j
    return out
