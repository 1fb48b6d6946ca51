"""What one layer of attention reads: coded rows, live rows, and who sees what.

row j's state      block[at[j], column : column + C]   where at[j] >= 0: remembered, a constant
                   live[-1 - at[j]]                    else: made in this pass, carries gradient
beside it          extra[beside[s, j]]                 token shift's previous event, the raw embedding; -1 nothing

codes (C)   | outcome | gap | rank | null |(previous outcome)|      spans: where each begins

Where a layer asks which ids are equal, each outcome has as many places as there are answers: outcome + outcomes x answer.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marm.nn.alike import Alike, alike
from marm.nn.choices import Choices, no_choices
from marm.nn.codec import Codec, codec_of
from marm.nn.views import GAPS, RANKS, Views, equal_ids, gap_edges, gap_rank_runs, outcome_codes, rank_buckets
from marm.types import I16, I64

TOGETHER = 96
"""Queries of one view from which on it is worth projecting its rows (``benchmarks/together.py``)."""


@dataclass(frozen=True)
class Work:
    """How a pass falls into segments, and the codes of its pairs, found when first asked for."""

    views: Views
    rows_at: I64
    """(B + 1,) first row of each segment."""
    queries_at: I64
    """(B + 1,) first place of each segment in ``order``."""
    order: I64
    """(Q,) queries grouped by segment."""
    pairs_at: I64
    """(Q + 1,) first pair of each query."""
    ranks: I64
    edges: I64
    choices: tuple[Choices, ...] = ()
    """Where a search picked: of each view that queries share, which rows of it they read."""

    @cached_property
    def pairs(self) -> I16:
        """(2, P) of every pair, oldest row first: outcome, previous outcome (-1: there is no previous row)."""
        v = self.views
        return outcome_codes(v.known, v.outcome, v.previous, v.begin, v.end, v.asked, self.pairs_at)

    @cached_property
    def equal(self) -> I16:
        """(2, P) of every pair, a bit for each kind of id that is equal: of the row's item, of the previous row's."""
        v = self.views
        return equal_ids(v.row_ids, v.query_ids, v.previous, v.begin, v.end, self.pairs_at)

    @cached_property
    def runs_and_firsts(self) -> tuple[I64, I64]:
        """(3, runs + 1) of consecutive pairs that share gap and rank: first pair, gap, rank; the last only closes.

        And (Q + 1,) first run of each query.
        """
        v = self.views
        return gap_rank_runs(v.time, v.place, v.begin, v.end, v.asked, self.ranks, self.edges, self.pairs_at)

    @property
    def runs_at(self) -> I64:
        """(Q + 1,) first run of each query."""
        return self.runs_and_firsts[1]

    @cached_property
    def newest_gap(self) -> I64:
        """(Q,) gap bucket of the newest row that each query sees; 0 where it sees none."""
        runs, firsts = self.runs_and_firsts
        return np.where(firsts[1:] > firsts[:-1], runs[1, firsts[1:] - 1], 0)

    @cached_property
    def parts(self) -> "Parts":
        """Views that many queries share, and the other queries."""
        return self.parted(TOGETHER)

    def parted(self, least: int) -> "Parts":
        """The same, a view taken from ``least`` queries on, or where a search picked for its queries."""
        choices = self.choices or tuple(no_choices(group) for group in self.views.shared(least))
        if not choices:
            return Parts([], np.arange(len(self.order)), self)
        shared = [Shared(one, self.of(one.queries[:1]), alike(self.views, one)) for one in choices]
        rest = np.setdiff1d(np.arange(len(self.order)), np.concatenate([one.queries for one in choices]))
        return Parts(shared, rest, self.of(rest))

    def of(self, queries: I64) -> "Work":
        """The work of these queries alone."""
        segment = np.empty_like(self.order)
        segment[self.order] = np.repeat(np.arange(len(self.rows_at) - 1), np.diff(self.queries_at))
        return plan_work(self.views.of(queries), segment[queries], self.rows_at)


@dataclass(frozen=True)
class Shared:
    """A view that many queries share."""

    choices: Choices
    """Whose it is, and which of its rows each of them reads."""
    work: Work
    """Of the first of them alone."""
    alike: Alike


@dataclass(frozen=True)
class Parts:
    """A pass's queries by how they attend."""

    shared: list[Shared]
    rest: I64
    """Those that attend each alone."""
    others: Work
    """Of the rest."""


def plan_work(views: Views, segment_of_query: I64, rows_at: I64) -> Work:
    """Group queries by segment."""
    segments = len(rows_at) - 1
    order = np.argsort(segment_of_query, kind="stable")
    queries_at = np.searchsorted(segment_of_query[order], np.arange(segments + 1))
    pairs_at = np.concatenate([[0], np.cumsum(views.end - views.begin)])
    return Work(views, rows_at, queries_at, order, pairs_at, rank_buckets(views.farthest), gap_edges())


@dataclass(frozen=True)
class Operands:
    """One layer's rows and views."""

    work: Work
    block: Tensor
    """(any, K x C) coded states; its type says the codec."""
    column: int
    at: I64
    """(R,)."""
    beside: I64
    """(S - 1, R)."""
    spans: I64
    """(5,) first code of gap, rank, null and previous outcome (-1 without token shift); how many outcomes there are."""

    @property
    def views(self) -> Views:
        """Who sees what."""
        return self.work.views

    @property
    def codec(self) -> Codec:
        """How the states are coded."""
        return codec_of(self.block)

    def codes(self) -> tuple[NDArray[np.uint16], I64]:
        """Outcome (with token shift the previous one too) of every pair, and runs of gap and rank, as places in the table."""
        gap0, rank0, _, prev0, outcomes = self.spans
        runs = self.work.runs_and_firsts[0] + np.array([0, gap0, rank0])[:, None]
        pairs = self.work.pairs
        if gap0 > outcomes:
            pairs = np.where(pairs < 0, pairs, pairs + self.work.equal * np.int16(outcomes))
        if prev0 < 0:
            return pairs[:1].view(np.uint16), runs
        # A row without a previous one takes a place past the end, where nothing is learned.
        before = np.where(pairs[1] < 0, gap0, pairs[1]) + prev0
        return np.stack([pairs[0], before]).astype(np.uint16), runs

    def pair_codes(self) -> list[I64]:
        """The same written out: places in the table of every pair (P,), one array for each kind of code."""
        codes, runs = self.codes()
        lengths = np.diff(runs[0])
        return [*codes.astype(np.int64), np.repeat(runs[1, :-1], lengths), np.repeat(runs[2, :-1], lengths)]

    def of(self, queries: I64) -> "Operands":
        """The same rows as these queries see them."""
        return replace(self, work=self.work.of(queries))


def code_spans(outcomes: int, shift: bool, answers: int = 1) -> I64:
    """First code of gap, rank, null and previous outcome, for this many outcome codes and answers to which ids are equal."""
    gap = outcomes * answers
    null = gap + GAPS + RANKS
    return np.array([gap, gap + GAPS, null, null + 1 if shift else -1, outcomes])
