"""Who sees what: the rows of history of a pass, and the range of them that each query may attend to.

    rows of one segment   r r r r r r l l l      r remembered, l live (being learned, or not yet remembered)
    query k               . . [begin . . end)    its view: the last n rows with t_j < t_k

Views are ranges because everything that hides a row (time, a history filter) hides all later rows of the user too.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import numba as nb
import numpy as np

from marm.types import I16, I64, U64

GAPS = 32
"""Time-gap buckets: 0 under a second (2^20 microseconds), then one for each doubling."""

RANKS = 32
"""Rank buckets: 1 to 8 one each, then four for each doubling."""

UNKNOWN = 0
"""Outcome code of an event whose outcome the query cannot know yet; not the same as negative."""


def no_ids() -> U64:
    """Of rows or queries whose ids nobody compares."""
    return np.zeros((0, 0), np.uint64)


@dataclass(frozen=True)
class Views:
    """Flat rows (R) in order of segment and position, and flat queries (Q), each with its range of rows."""

    time: I64
    """(R,) of each row, microseconds."""
    known: I64
    """(R,) when the row's outcome is known."""
    outcome: I16
    """(R,) outcome code, 1 or more."""
    previous: I64
    """(R,) the row before it of the same user; -1 where there is none."""
    place: I64
    """(R,) its number in the user's history, from any beginning: what ranks go by."""
    begin: I64
    """(Q,) first row seen."""
    end: I64
    """(Q,) one past the last row seen."""
    asked: I64
    """(Q,) time of the query."""
    row_ids: U64 = field(default_factory=no_ids)
    """(R, F) ids of the row's item, one of each kind."""
    query_ids: U64 = field(default_factory=no_ids)
    """(Q, F) ids of the query's item; none where nobody asks whether ids are equal."""

    @property
    def longest(self) -> int:
        """Rows of the longest view."""
        return int((self.end - self.begin).max(initial=0))

    @property
    def farthest(self) -> int:
        """The highest rank of any row seen: 1 is a view's newest row."""
        seen = self.end > self.begin
        reach = self.place[self.end[seen] - 1] - self.place[self.begin[seen]]
        return int(reach.max(initial=-1)) + 1

    def shared(self, least: int) -> list[I64]:
        """Queries that see the same rows at the same time, such as a request's candidates: each group of ``least`` or more."""
        if len(self.begin) < least:
            return []
        asked = np.stack([self.begin, self.end, self.asked], 1)
        _, group, counts = np.unique(asked, axis=0, return_inverse=True, return_counts=True)
        return [np.flatnonzero(group == g) for g in np.flatnonzero(counts >= least)]

    def of(self, queries: I64) -> "Views":
        """The same rows as these queries see them."""
        ids = self.query_ids[queries] if self.query_ids.size else self.query_ids
        return replace(self, begin=self.begin[queries], end=self.end[queries], asked=self.asked[queries], query_ids=ids)


def rank_buckets(farthest: int) -> I64:
    """Bucket of each rank 0..farthest (rank 1 is the newest row): (farthest + 1,)."""
    return _buckets_below(1 << (farthest + 1).bit_length())[: farthest + 1]


@cache
def _buckets_below(ranks: int) -> I64:
    rank = np.arange(ranks)
    wide = 8 + np.floor(4 * np.log2(np.maximum(rank, 8) / 8)).astype(np.int64)
    return np.minimum(np.where(rank <= 8, np.maximum(rank, 1) - 1, wide), RANKS - 1).astype(np.int64)


def gap_edges() -> I64:
    """Smallest gap in microseconds of each bucket after the first: (GAPS - 1,)."""
    return np.left_shift(np.int64(1) << 20, np.arange(GAPS - 1, dtype=np.int64))


@nb.njit(cache=True, nogil=True)
def outcome_codes(known: I64, outcome: I16, previous: I64, begin: I64, end: I64, asked: I64, pair: I64) -> I16:
    """Outcomes of every pair of a query and a row it sees, oldest row first: its own, its previous row's, (2, P)."""
    out = np.empty((2, pair[-1]), np.int16)
    for k in range(len(begin)):
        for j in range(begin[k], end[k]):
            p = pair[k] + j - begin[k]
            out[0, p] = outcome[j] if known[j] <= asked[k] else 0
            before = previous[j]
            out[1, p] = -1 if before < 0 else (outcome[before] if known[before] <= asked[k] else 0)
    return out


@nb.njit(cache=True, nogil=True)
def equal_ids(of_row: U64, of_query: U64, previous: I64, begin: I64, end: I64, pair: I64) -> I16:
    """Which of a query's ids the row of each pair has, and the row before it: a bit for each kind, (2, P)."""
    out = np.zeros((2, pair[-1]), np.int16)
    for k in range(len(begin)):
        for j in range(begin[k], end[k]):
            p, before = pair[k] + j - begin[k], previous[j]
            for f in range(of_query.shape[1]):
                wanted = of_query[k, f]
                if wanted != 0:
                    out[0, p] |= np.int16(of_row[j, f] == wanted) << f
                    if before >= 0:
                        out[1, p] |= np.int16(of_row[before, f] == wanted) << f
    return out


@nb.njit(cache=True, nogil=True)
def gap_rank_runs(
    time: I64, place: I64, begin: I64, end: I64, asked: I64, ranks: I64, edges: I64, pair: I64
) -> tuple[I64, I64]:
    """Runs of pairs that share gap and rank bucket, oldest row first: (3, runs + 1) and the first of each query."""
    at = np.zeros(len(begin) + 1, np.int64)
    out = np.empty((3, min(pair[-1], len(begin) * (len(edges) + 1 + ranks.max() + 1)) + 1), np.int64)
    run = 0
    for k in range(len(begin)):
        gap = len(edges)
        for j in range(begin[k], end[k]):
            while gap > 0 and asked[k] - time[j] < edges[gap - 1]:
                gap -= 1
            rank = ranks[place[end[k] - 1] - place[j] + 1]
            if j == begin[k] or out[1, run - 1] != gap or out[2, run - 1] != rank:
                out[0, run], out[1, run], out[2, run] = pair[k] + j - begin[k], gap, rank
                run += 1
        at[k + 1] = run
    out[0, run], out[1, run], out[2, run] = pair[-1], 0, 0
    return out[:, : run + 1].copy(), at
