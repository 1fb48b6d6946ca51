"""One layer of target attention: a query per target, the history's rows as keys and values, never projected (design: folding).

    x_kj  = u_j + A[outcome] + G[gap] + R[rank] + S(e_{j-1} + A[outcome of j-1]) + W e_j
    logit = q_k . Wk x_kj / sqrt(dk)  =  (Wk^T q_k) . u_j + (A Wk^T q_k)[outcome] + ...
    value = Wv sum_j w_kj x_kj        =  Wv (sum w u + A^T bins + ...)

Everything about a pair is a code with a learned row; nothing nonlinear follows, so all of it moves to the query's side.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.nn.blocks import similar_heads
from marm.nn.dense import dense, is_steady
from marm.nn.fused import FusedAttention
from marm.nn.one_view import attend_one_view, attend_with_choices
from marm.nn.operands import Operands, code_spans
from marm.nn.plain import folded, projected, rows_of, weights
from marm.nn.views import GAPS, RANKS


class TargetAttention(nn.Module):
    """Multi-head target attention over remembered and live rows (MARM, section on multi-layer target attention)."""

    def __init__(self, width: int, heads: int, outcomes: Tensor, shift: bool = False, raw: bool = False) -> None:
        """``outcomes`` (codes, F): which of F learned rows each outcome code is the sum of."""
        super().__init__()
        if width % heads:
            raise ValueError(f"heads = {heads} does not divide width = {width}")
        self.width, self.heads, self.outcomes = width, heads, len(outcomes)
        self.spans = code_spans(self.outcomes, shift)
        self.outcome_parts: Tensor
        self.register_buffer("outcome_parts", outcomes, persistent=False)
        self.query, self.key, self.value, self.out = (nn.Parameter(part) for part in similar_heads(width, heads))
        self.outcome_rows = nn.Parameter(torch.randn(outcomes.shape[1], width) * 0.3)
        self.other_rows = nn.Parameter(torch.randn(GAPS + RANKS + 1, width) * 0.1)
        self.beside = nn.ParameterList([nn.Parameter(torch.eye(width) * 0.5) for _ in range(int(shift) + int(raw))])
        self.shift = shift

    def forward(self, target_QD: Tensor, live: Tensor, extra: Tensor, ops: Operands, way: str = "auto") -> Tensor:
        """What each target makes of its view: (Q, D). ``way``: auto, fused, folded, projected or reference."""
        if way == "reference":
            return self._reference(target_QD, live, extra, ops)
        return self.read(target_QD, live, extra, ops, way)[0]

    def read(
        self, target_QD: Tensor, live: Tensor, extra: Tensor, ops: Operands, way: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """What each target makes of its view (Q, D), and how much weight each head put on what outcome (Q, H, F + 1).

        The F learned rows that outcomes are the sum of, then the null row.
        """
        if way == "auto":
            way = choose(target_QD.device, self.width, self.heads, len(target_QD), len(ops.work.rows_at) - 1)
            # Where bits must not hang on what else is asked, or a gradient is wanted, every query goes alone.
            if way == "fused" and not (is_steady() or torch.is_grad_enabled()) and ops.work.parts[0]:
                return self._by_view(target_QD, live, extra, ops)
        codes = self._codes()
        q_QSHD, tab = self._folded_queries(target_QD, codes)
        unfold = torch.einsum("hkd,hke->hde", self.value, self.out)
        if way == "projected":
            value_QD, bins = self._projected(target_QD, live, extra, ops, tab, codes, unfold)
        else:
            attend = FusedAttention.apply if way == "fused" else folded
            context, bins = attend(q_QSHD, tab, live, extra, ops)
            value_QD = self._value(context, bins, codes, unfold)
        return value_QD, self._heard(bins)

    def heed(self, target_QD: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> Tensor:
        """The weights that ``read`` sums by, adding up to 1: (Q, H, N + 1), oldest row of the view first, the null row last."""
        return weights(*self._folded_queries(target_QD, self._codes()), live, extra, ops)

    def sought(self, target_QD: Tensor) -> Tensor:
        """The query on the rows' side of the key projection, summed over heads: what a search compares states with, (Q, D)."""
        return dense(target_QD, torch.einsum("hkd,hke->de", self.query, self.key) / self._root())

    def _folded_queries(self, target_QD: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Queries on the rows' side of the key projection, one for each stream of rows (Q, S, H, D), and what codes add."""
        # The product of two projections first: one matrix for each head, whatever the number of targets.
        fold = torch.einsum("hkd,hke->dhe", self.query, self.key).reshape(self.width, -1) / self._root()
        q_QHD = dense(target_QD, fold).view(-1, self.heads, self.width)
        beside = [_each(q_QHD, side) for side in self.beside]
        return torch.stack([q_QHD, *beside], 1), self._tab(q_QHD, beside, codes)

    def _by_view(self, target_QD: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> tuple[Tensor, Tensor]:
        """Groups of queries that share a view attend to it projected once; the others as ever. No gradient."""
        groups, (rest, others) = ops.work.parts
        rows_RD, codes = self._rows(rows_of(ops, live, extra)), self._codes()
        if len(groups[0][0]) == len(target_QD):
            return self._one_view(target_QD, rows_RD, replace(ops, work=groups[0][1]), codes)
        value_QD = target_QD.new_empty(target_QD.shape)
        heard = target_QD.new_empty(len(target_QD), self.heads, self.outcome_parts.shape[1] + 1)
        for group, one in groups:
            at = torch.from_numpy(group)
            value_QD[at], heard[at] = self._one_view(target_QD[at], rows_RD, replace(ops, work=one), codes)
        if len(rest):
            at = torch.from_numpy(rest)
            value_QD[at], heard[at] = self.read(target_QD[at], live, extra, replace(ops, work=others), "fused")
        return value_QD, heard

    def _one_view(self, target_GD: Tensor, rows_RD: Tensor, one: Operands, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Plain attention of queries that all see what the ``one`` sees: codes are added to the rows themselves.

        Where a search picked, each reads its own choice of the first rows.
        """
        begin, end, inner = int(one.views.begin[0]), int(one.views.end[0]), self.width // self.heads
        outcome, added = self._pair_rows(one, codes)
        # What a head heard of outcomes comes with the values, as columns that say which outcome each row has.
        x_ND, said = rows_RD[begin:end] + added, functional.pad(self.outcome_parts[outcome], (0, 1))
        null = functional.one_hot(torch.tensor([said.shape[1] - 1])).to(said.dtype)
        picked = one.work.choices[0].rows if one.work.choices else 0
        # Rows lie along the last axis: that is how the loops read them.
        rows_ND = torch.cat([codes[int(self.spans[2])][None], x_ND[picked:]])
        q_HGK = torch.einsum("gd,hkd->hgk", target_GD, self.query) / self._root()
        key, value = (torch.einsum("hkd,nd->hkn", weight, rows_ND) for weight in (self.key, self.value))
        value = torch.cat([value, torch.cat([null, said[picked:]]).T.expand(self.heads, -1, -1)], 1)
        if picked:
            key_UHK, value_UHK = (torch.einsum("hkd,ud->uhk", w, x_ND[:picked]) for w in (self.key, self.value))
            value_UHV = torch.cat([value_UHK, said[:picked, None].expand(-1, self.heads, -1)], 2)
            made_HGV = attend_with_choices(q_HGK, key, value, key_UHK, value_UHV, one.work.choices[0])
        else:
            made_HGV = attend_one_view(q_HGK, key, value)
        return torch.einsum("hgk,hkd->gd", made_HGV[:, :, :inner], self.out), made_HGV[:, :, inner:].transpose(0, 1)

    def _pair_rows(self, one: Operands, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Outcome code of every row that the one query sees (N,), and the sum of the rows that its codes stand for (N, D)."""
        outcome, *before, gap, rank = (torch.from_numpy(code) for code in one.pair_codes())
        added = codes[outcome] + codes[gap] + codes[rank]
        if self.shift:
            # A previous outcome's place begins after all others; past the last of them there is no previous row.
            coded = functional.pad(codes[: self.outcomes] @ self.beside[0].T, (0, 0, 0, 1))
            added = added + coded[before[0] - int(self.spans[3])]
        return outcome, added

    def _heard(self, bins: Tensor) -> Tensor:
        """Weight on each of the rows that outcomes are the sum of, and on the null row: (Q, H, F + 1)."""
        known = dense(bins[:, :, : self.outcomes].reshape(-1, self.outcomes), self.outcome_parts)
        null = int(self.spans[2])
        return torch.cat([known.view(*bins.shape[:2], -1), bins[:, :, null : null + 1]], 2)

    def _root(self) -> float:
        return math.sqrt(self.width // self.heads)

    def _codes(self) -> Tensor:
        """The row that each code stands for: outcomes, gaps, ranks and the null row, (C, D)."""
        return torch.cat([self.outcome_parts @ self.outcome_rows, self.other_rows])

    def _tab(self, q_QHD: Tensor, beside: list[Tensor], codes: Tensor) -> Tensor:
        """What each code adds to a logit: (Q, H, C)."""
        tab = dense(q_QHD.reshape(-1, self.width), codes.T)
        if self.shift:
            # One place more, for rows without a previous event: it adds nothing.
            before = functional.pad(codes[: self.outcomes], (0, 0, 0, 1))
            tab = torch.cat([tab, dense(beside[0].reshape(-1, self.width), before.T)], 1)
        return tab.view(len(q_QHD), self.heads, -1)

    def _coded(self, bins: Tensor, codes: Tensor) -> Tensor:
        """The rows that codes stand for, weighted: (Q, H, D), token shift's previous outcomes included."""
        plain = len(codes)
        summed = dense(bins[:, :, :plain].reshape(-1, plain), codes)
        if self.shift:
            before = dense(bins[:, :, plain:-1].reshape(-1, self.outcomes), codes[: self.outcomes])
            summed = summed + dense(before, self.beside[0].T)
        return summed.view(*bins.shape[:2], self.width)

    def _value(self, context_QSHD: Tensor, bins: Tensor, codes: Tensor, unfold_HDD: Tensor) -> Tensor:
        summed = context_QSHD[:, 0] + self._coded(bins, codes)
        for s, side in enumerate(self.beside):
            summed = summed + _each(context_QSHD[:, s + 1], side.T)
        return dense(summed.reshape(len(summed), -1), unfold_HDD.reshape(-1, self.width))

    def _projected(
        self, target: Tensor, live: Tensor, extra: Tensor, ops: Operands, tab: Tensor, codes: Tensor, unfold: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows_RD = self._rows(rows_of(ops, live, extra))
        q_QHK = torch.einsum("qd,hkd->qhk", target, self.query) / self._root()
        keys, values = (torch.einsum("rd,hkd->rhk", rows_RD, w) for w in (self.key, self.value))
        value_QHK, bins = projected(q_QHK, keys, values, tab, ops)
        coded = self._coded(bins, codes).reshape(len(target), -1) @ unfold.reshape(-1, self.width)
        return torch.einsum("qhk,hkd->qd", value_QHK, self.out) + coded, bins

    def _rows(self, rows_RSD: Tensor) -> Tensor:
        """Rows with what travels beside them, as keys and values see them: (R, D)."""
        summed = rows_RSD[:, 0]
        for s, side in enumerate(self.beside):
            summed = summed + rows_RSD[:, s + 1] @ side.T
        return summed

    def flops(self, queries: int, window: int) -> int:
        """Multiply-adds x 2 of the folded way, each query seeing ``window`` rows."""
        d, h, streams = self.width, self.heads, 1 + len(self.beside)
        codes, (outcomes, values) = len(self.other_rows) + self.outcomes, self.outcome_parts.shape
        once = 2 * d**3 + outcomes * values * d
        # For each query and head: folded query, table and bins of codes, what was heard, the rows, the value.
        beside = self.shift * ((2 * outcomes + 1) * d + d * d)
        each = (2 * streams * d + 2 * codes + 2 * window * streams) * d + beside + outcomes * values
        return 2 * (once + queries * h * each)

    def _reference(self, target: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> Tensor:
        """Every x_kj written out and projected: slow and plain, what the other ways are held against."""
        views, rows, codes = ops.views, self._rows(rows_of(ops, live, extra)), self._codes()
        gap0, rank0, null0, prev0 = (int(s) for s in ops.spans)
        out = []
        for k in range(len(target)):
            x = [codes[null0]]
            for j in range(int(views.begin[k]), int(views.end[k])):
                gap = int((ops.work.edges <= views.asked[k] - views.time[j]).sum())
                rank = int(ops.work.ranks[views.place[views.end[k] - 1] - views.place[j] + 1])
                x_kj = rows[j] + codes[_outcome(ops, k, j)] + codes[gap0 + gap] + codes[rank0 + rank]
                before = int(views.previous[j])
                if prev0 >= 0 and before >= 0:
                    x_kj = x_kj + self.beside[0] @ codes[_outcome(ops, k, before)]
                x.append(x_kj)
            x_ND = torch.stack(x)
            q, key, value = self.query @ target[k], x_ND @ self.key.mT, x_ND @ self.value.mT
            weight = (torch.einsum("hk,hnk->hn", q, key) / self._root()).softmax(1)
            out.append(torch.einsum("hn,hnk,hkd->d", weight, value, self.out))
        return torch.stack(out)


def choose(device: torch.device, width: int, heads: int, queries: int, segments: int) -> str:
    """The way to attend, by shapes alone: fused on a CPU; else project once many targets share a history."""
    if device.type == "cpu":
        return "fused"
    shared = queries / max(segments, 1)
    return "projected" if heads > 1 and segments <= 8 and shared > width / (heads - 1) else "folded"


def _outcome(ops: Operands, k: int, j: int) -> int:
    return int(ops.views.outcome[j]) if ops.views.known[j] <= ops.views.asked[k] else 0


def _each(x_QHD: Tensor, weight_DD: Tensor) -> Tensor:
    """Every head's row times one matrix: (Q, H, D)."""
    return dense(x_QHD.reshape(-1, x_QHD.shape[2]), weight_DD).view(x_QHD.shape)
