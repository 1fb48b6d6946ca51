"""What a stage sees of users: ranking's embeddings and states of a share of a pass, detached, and views of them.

A stage attends with layers of ranking's kind, but chooses its own rows: the newest of all, or the newest positive ones.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from marm.engine.batch import find_views, running_max
from marm.engine.engine import Attended, Share
from marm.model.inputs import Pass
from marm.model.stack import TargetAttentionStack
from marm.nn.blocks import row_norm
from marm.nn.operands import Operands, Work, plan_work
from marm.nn.views import Views
from marm.types import I64, U64, Bool


@dataclass(frozen=True)
class History:
    """Rows (R) and queries (Q) of a stage; everything that ranking made is a constant."""

    work: Work
    block: Tensor
    """(any, K x C) coded states of depths 1..K."""
    state_of_row: I64
    """(R,) as in ``Pass``."""
    item_of_row: I64
    item_UD: Tensor
    """Ranking's embeddings of the distinct items of rows and queries."""
    items: U64
    """(U,)."""
    live_MKD: Tensor
    """States of the pass's queries, which live rows are made of."""
    user_QD: Tensor
    """Ranking's embedding of each query's user."""
    users: U64
    """(Q,)."""

    @property
    def views(self) -> Views:
        """Who sees what."""
        return self.work.views

    def operands(self, depth: int, spans: I64, raw_UD: Tensor, stack: TargetAttentionStack) -> tuple[Tensor, Operands]:
        """Live rows and operands of a layer that reads ``depth``; at depth 0 rows are ``raw_UD``."""
        none = np.zeros((0, len(self.item_of_row)), np.int64)
        if depth == 0:
            at, live, column = -1 - self.item_of_row, raw_UD, 0
        else:
            at, live = self._states(depth, stack)
            column = stack.column(depth)
        return live, Operands(self.work, self.block, column, at, none, spans)

    def _states(self, depth: int, stack: TargetAttentionStack) -> tuple[I64, Tensor]:
        """Rows without a state have ranking's own fall-back."""
        live, missing = self.live_MKD[:, depth - 1], self.state_of_row == Pass.MISSING
        if not missing.any():
            return self.state_of_row, live
        with torch.no_grad():
            instead = row_norm(stack.fallbacks[depth - 1](row_norm(self.item_UD))).detach()
        at = np.where(missing, -1 - len(live) - self.item_of_row, self.state_of_row)
        return at, torch.cat([live, instead])


def newest(share: Share, queries: I64, window: int) -> History:
    """The newest ``window`` rows that ranking's ``queries`` of a share see."""
    views = share.passed.views.of(queries)
    views = _plain(views, np.maximum(views.begin, views.end - window), views.end)
    rows = np.arange(len(views.time))
    return _history(share, queries, views, rows, share.passed.work.rows_at)


def positive(share: Share, queries: I64, window: int, reach: int, positive_codes: Bool) -> History:
    """The newest ``window`` of those among the last ``reach`` rows whose outcome is positive, and known at the query's time.

    An event waits for those before it: that a row is missing must not say what its outcome will be.
    """
    views, rows_at = share.passed.views.of(queries), share.passed.work.rows_at
    known = views.known.copy()
    running_max(known, rows_at)
    segment = share.passed.segment_of_query[queries]
    begin, end = find_views(views.time, known, rows_at, segment, views.asked, reach, True)
    good = positive_codes[views.outcome]
    before = np.concatenate([[0], np.cumsum(good)])
    rows = np.flatnonzero(good)
    rows_of = (views.time[rows], views.known[rows], views.outcome[rows])
    kept = Views(*rows_of, rows, np.arange(len(rows)), before[begin], before[end], views.asked)
    kept = _plain(kept, np.maximum(kept.begin, kept.end - window), kept.end)
    return _history(share, queries, kept, rows, before[rows_at])


def _plain(views: Views, begin: I64, end: I64) -> Views:
    """Without previous rows: stages have no token shift."""
    return replace(views, previous=np.full(len(views.time), -1), begin=begin, end=end)


def _history(share: Share, queries: I64, views: Views, rows: I64, rows_at: I64) -> History:
    passed, output = share.passed, share.output
    segment = passed.segment_of_query[queries]
    return History(
        plan_work(views, segment, rows_at),
        passed.block,
        passed.state_of_row[rows],
        passed.item_of_row[rows],
        output.item_UD.detach(),
        share.items,
        output.state_QKD.detach(),
        output.user_BD.detach()[torch.from_numpy(segment).to(output.user_BD.device)],
        share.batch.users[segment],
    )


def repeated(history: History, times: int) -> History:
    """Every query so many times in a row."""
    if times == 1:
        return history
    queries = np.repeat(np.arange(len(history.users)), times)
    segment = np.empty_like(history.work.order)
    counts = np.diff(history.work.queries_at)
    segment[history.work.order] = np.repeat(np.arange(len(counts)), counts)
    return History(
        **{name: getattr(history, name) for name in _SAME},
        work=plan_work(history.views.of(queries), segment[queries], history.work.rows_at),
        user_QD=history.user_QD[torch.from_numpy(queries).to(history.user_QD.device)],
        users=history.users[queries],
    )


_SAME = ("block", "state_of_row", "item_of_row", "item_UD", "items", "live_MKD")


def places(share: Share, queries: I64) -> tuple[I64, I64]:
    """Of a pass's queries, those that this share scored: their places in ``queries``, and in the share."""
    at = np.searchsorted(share.queries, queries)
    here = (at < len(share.queries)) & (share.queries[np.minimum(at, len(share.queries) - 1)] == queries)
    mine = np.flatnonzero(here)
    return mine, at[mine]


def scored_by(attended: Attended, queries: I64) -> list[tuple[Share, I64, I64]]:
    """The shares of a pass that scored any of its ``queries``, each with ``places``."""
    found = [(share, *places(share, queries)) for share in attended.shares]
    return [part for part in found if len(part[1])]
