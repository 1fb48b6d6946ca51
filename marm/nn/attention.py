"""One layer of target attention: a query per target, the history's rows as keys and values, never projected (design: folding).

    x_kj  = u_j + A[outcome] + G[gap] + R[rank]; beside it e_{j-1} + A[outcome of j-1], and e_j
    logit = q_k . (Wk x_kj + Sk beside_kj + ...) / sqrt(dk) + c . (A[outcome] + G[gap] + R[rank]) - f . (log gap, log rank)
          = (Wk^T q_k) . u_j + (A (Wk^T q_k + c))[outcome] + ...
    value = sum_j w_kj (Wv ((1 + g[outcome]) u_j + A[outcome] + ...) + Sv beside_kj + ...)
          = Wv (sum w (1 + g) u + A^T bins) + ...

What travels beside a row has keys and values of its own in each head, so that a head may ask for "after something like
this, and not like this itself". Folded, that costs what one shared matrix would.
Everything about a pair is a code with a learned row; nothing nonlinear follows, so all of it moves to the query's side.
g is a head's own number for an outcome: what went well it may add, and take away what went badly, so that its sum says where
a user's taste lies, where the sum of plain rows says what was shown.
c is a head's own: what outcome, age or rank weighs whatever the target is, which by the target alone is learned slowly.
f is how rows fade with age and rank, by powers: two numbers of a head, learned fast, where buckets are many and slow.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.nn.blocks import similar_heads
from marm.nn.dense import dense, is_steady
from marm.nn.fading import Fading
from marm.nn.fused import FusedAttention, rows_seen
from marm.nn.one_view import Projected, attend_with_choices
from marm.nn.operands import Operands, Parts, Shared, code_spans
from marm.nn.plain import folded, projected, rows_of, weights
from marm.nn.views import GAPS, RANKS, Views

SAME, SHARP, FADE = 1.0, 20.0, 3.0
"""At first: what an equal id adds to a logit; in a sharp head, what it adds, and what each doubling of rank takes away."""


class TargetAttention(nn.Module):
    """Multi-head target attention over remembered and live rows (MARM, section on multi-layer target attention)."""

    def __init__(
        self,
        width: int,
        heads: int,
        outcomes: Tensor,
        shift: bool = False,
        raw: bool = False,
        ids: int = 0,
        layer: int = 0,
    ) -> None:
        """``outcomes`` (codes, F): which of F learned rows each outcome code is the sum of.

        ``ids``: kinds of id of which a head may know whether row and target have the same; ``layer``: which one of the
        stack this is, so that layers begin with other kinds.
        """
        super().__init__()
        if width % heads:
            raise ValueError(f"heads = {heads} does not divide width = {width}")
        self.width, self.heads, self.outcomes = width, heads, len(outcomes)
        self.spans = code_spans(self.outcomes, shift, 2**ids)
        self.outcome_parts: Tensor
        self.register_buffer("outcome_parts", outcomes, persistent=False)
        self.query, self.key, self.value, self.out = (nn.Parameter(part) for part in similar_heads(width, heads))
        # As loud together as one, however many tasks there are.
        self.outcome_rows = nn.Parameter(torch.randn(outcomes.shape[1], width) * 0.3 / outcomes.sum(1).max().sqrt())
        self.other_rows = nn.Parameter(torch.randn(GAPS + RANKS + 1, width) * 0.1)
        self.beside_key, self.beside_value = nn.ParameterList(), nn.ParameterList()
        # Every other head begins by asking for what came after something like the target, not for something like it.
        after = (torch.arange(heads) % 2 == 1).float().view(-1, 1, 1) * shift
        if shift:
            self._beside(self.key * torch.where(after > 0, 1.0, 0.1), self.value * 0.1)
            self.key.data *= torch.where(after > 0, -0.5, 1.0)
        if raw:
            self._beside(self.key * 0.5, self.value * 0.5)
        equal, newest = sharp_heads(heads, ids, shift, layer)
        self.equal = nn.Parameter(equal)
        self.fading = Fading(FADE * newest, self.outcomes)
        # Heads that look for the newest keep to that.
        self.soft: Tensor
        self.register_buffer("soft", 1 - newest[:, None], persistent=False)
        self.own = nn.Parameter(torch.randn(heads, width) / math.sqrt(width))
        self.shift = shift
        self.worth = nn.Parameter(torch.zeros(heads, outcomes.shape[1]))

    def contrast(self, worth_F: Tensor) -> None:
        """Let heads begin by adding rows that went well and taking away those that went badly.

        Those that look for the newest row of an id take it as it is: they ask what it was, however it went.
        ``worth_F``: of each of the rows that outcomes are the sum of, as ``marm/model/outcomes.py`` has it.
        """
        self.worth.data = worth_F * self.soft

    def _beside(self, key: Tensor, value: Tensor) -> None:
        self.beside_key.append(nn.Parameter(key.detach().clone()))
        self.beside_value.append(nn.Parameter(value.detach().clone()))

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
            alone = is_steady() or torch.is_grad_enabled()
            if way == "fused" and not alone and ops.work.parts.shared:
                return self._by_view(target_QD, live, extra, ops, ops.work.parts)
        codes = self._codes()
        q_QSHD, tab = self._folded_queries(target_QD, codes, ops)
        if way == "projected":
            value_QD, bins = self._projected(target_QD, live, extra, ops, tab)
            coded, heard = self._coded(bins, codes)
            return value_QD + self._unfolded(coded), heard
        attend = FusedAttention.apply if way == "fused" else folded
        context, bins = attend(q_QSHD, tab, self._worths(), live, extra, ops)
        coded, heard = self._coded(bins, codes)
        streams = [sum(parts[1:], parts[0]) for parts in _of_streams(context.unbind(1), coded)]
        return self._unfolded(streams), heard

    def heed(self, target_QD: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> Tensor:
        """The weights that ``read`` sums by, adding up to 1: (Q, H, N + 1), oldest row of the view first, the null row last."""
        return weights(*self._folded_queries(target_QD, self._codes(), ops), live, extra, ops)

    def sought(self, target_QD: Tensor) -> Tensor:
        """The query on the rows' side of the key projection, summed over heads: what a search compares states with, (Q, D)."""
        return dense(target_QD, torch.einsum("hkd,hke->de", self.query, self.key) / self._root())

    def _folded_queries(self, target_QD: Tensor, codes: Tensor, ops: Operands) -> tuple[Tensor, Tensor]:
        """Queries on the rows' side of the key projection, one for each stream of rows (Q, S, H, D), and what codes add."""
        # The product of two projections first: one matrix for each head, whatever the number of targets.
        folds = [torch.einsum("hkd,hke->dhe", self.query, key) for key in self._keys()]
        fold = (torch.stack(folds, 1) if len(folds) > 1 else folds[0]).reshape(self.width, -1) / self._root()
        q_QSHD = dense(target_QD, fold).view(-1, len(folds), self.heads, self.width)
        return q_QSHD, self._tab(q_QSHD, codes, ops)

    def _by_view(
        self, target_QD: Tensor, live: Tensor, extra: Tensor, ops: Operands, parts: Parts
    ) -> tuple[Tensor, Tensor]:
        """Groups of queries that share a view attend to it projected once; the others as ever. No gradient."""
        if not len(parts.rest) and len(parts.shared) == 1:
            return self._one_view(target_QD, live, extra, ops, parts.shared[0])
        value_QD = target_QD.new_empty(target_QD.shape)
        heard = target_QD.new_empty(len(target_QD), self.heads, self.outcome_parts.shape[1] + 1)
        for view in parts.shared:
            at = torch.from_numpy(view.choices.queries)
            value_QD[at], heard[at] = self._one_view(target_QD[at], live, extra, ops, view)
        if len(parts.rest):
            at = torch.from_numpy(parts.rest)
            value_QD[at], heard[at] = self.read(target_QD[at], live, extra, replace(ops, work=parts.others), "fused")
        return value_QD, heard

    def _one_view(
        self, target_GD: Tensor, live: Tensor, extra: Tensor, ops: Operands, view: Shared
    ) -> tuple[Tensor, Tensor]:
        """Plain attention of queries that share a view. Where a search picked, each reads its own choice of the first rows."""
        picked, inner = view.choices.rows, self.width // self.heads
        every = self._projected_view(live, extra, replace(ops, work=view.work), picked)
        rows = Projected(*(part[..., picked:] for part in every))
        own = Projected(*(part[..., :picked].movedim(-1, 0) for part in every))
        q_GHK = (target_GD @ (self.query.flatten(0, 1).T / self._root())).view(-1, self.heads, inner)
        made_HGV = attend_with_choices(q_GHK.transpose(0, 1), rows, own, view.choices, view.alike, self._in_common())
        value_GHK, heard = made_HGV.transpose(0, 1).tensor_split([inner], 2)
        return value_GHK.flatten(1) @ self.out.flatten(0, 1), heard

    def _projected_view(self, live: Tensor, extra: Tensor, one: Operands, null: int) -> Projected:
        """What the ``one`` sees, the null row put in at a place: codes are added to the rows themselves."""
        plain_NX = rows_seen(one, live, extra, null).flatten(1)
        # All that codes say in one sum: to gather and add them kind by kind takes ten times as long.
        added = functional.embedding_bag(self._places(one, null), self._table(one, plain_NX.shape[1]), mode="sum")
        row_NX, *others = self._parts(added, plain_NX.shape[1])
        row_NX += plain_NX
        # Rows lie along the last axis: that is how the loops read them.
        said_FN, lean_HN, more_HN = (part.T.contiguous() for part in others)
        key_HKN, value_HKN = (
            (torch.cat(weights, 2).flatten(0, 1) @ row_NX.T).view(self.heads, -1, len(row_NX))
            for weights in (self._keys(), self._values())
        )
        value_HKN += (self.value.flatten(0, 1) @ plain_NX[:, : self.width].T).view_as(value_HKN) * more_HN[:, None]
        # What a head heard of outcomes comes with the values, as columns that say which outcome each row has.
        return Projected(key_HKN, torch.cat([value_HKN, said_FN.expand(self.heads, -1, -1)], 1), lean_HN)

    def _places(self, one: Operands, null: int) -> Tensor:
        """Places in ``_table`` of what each row that the one query sees is the sum of, the null row put in: (N + 1, any)."""
        one = replace(one, spans=code_spans(self.outcomes, self.shift))
        places = np.stack(one.pair_codes(), 1)
        nothing = one.spans[2] + 1 + self.shift * self.outcomes
        return torch.from_numpy(np.insert(places, null, [one.spans[2], *[nothing] * (places.shape[1] - 1)], 0))

    def _table(self, one: Operands, columns: int) -> Tensor:
        """What codes come to, whichever ids are equal; after them previous outcomes, then nothing: (any, X + F + 2 H).

        The row that a code stands for (X, all streams), its outcome's parts, what it adds to logits, and how much more
        than once a row is taken.
        """
        codes, outcomes = self._codes(), self.outcomes
        kept = len(codes) + self.shift * outcomes
        table = codes.new_zeros(kept + 1, columns + self.outcome_parts.shape[1] + 2 * self.heads)
        row, said, lean, more = self._parts(table, columns)
        row[: len(codes), : self.width], lean[: len(codes)] = codes, self._lean(codes).T
        lean[len(codes) - 1] -= self.fading.of_nothing(one)[0]
        said[:outcomes], more[:outcomes] = self.outcome_parts, self._more().T
        if self.shift:
            row[len(codes) : kept, self.width : 2 * self.width] = codes[:outcomes]
        return table

    def _parts(self, table: Tensor, columns: int) -> tuple[Tensor, ...]:
        return torch.split(table, [columns, self.outcome_parts.shape[1], self.heads, self.heads], 1)

    def _worths(self) -> Tensor:
        """What each outcome, with each answer to which ids are equal, multiplies a row's value by: (H, answers x O)."""
        answers = 2 ** self.equal.shape[2]
        return 1 + (self._more().repeat(1, answers) if answers > 1 else self._more())

    def _more(self) -> Tensor:
        """How much more than once a row with each outcome is taken, or less: (H, O)."""
        return self.worth @ self.outcome_parts.T

    def _in_common(self) -> Tensor:
        """What an id in common adds to a logit, by kind: of a row, then of the row before it (0 where that does not count)."""
        if not self.equal.numel():
            return self.equal.new_zeros(self.heads, 0)
        return functional.pad(self.equal, (0, 0, 0, 0, 0, 2 - len(self.equal))).transpose(0, 1).flatten(1)

    def _keys(self) -> list[Tensor]:
        """Of each stream of rows: (H, K, D)."""
        return [self.key, *self.beside_key]

    def _values(self) -> list[Tensor]:
        """Of each stream of rows: (H, K, D)."""
        return [self.value, *self.beside_value]

    def _root(self) -> float:
        return math.sqrt(self.width // self.heads)

    def _codes(self) -> Tensor:
        """The row that each code stands for: outcomes, gaps, ranks and the null row, (C, D)."""
        return torch.cat([self.outcome_parts @ self.outcome_rows, self.other_rows])

    def _tab(self, q_QSHD: Tensor, codes: Tensor, ops: Operands) -> Tensor:
        """What each code adds to a logit: (Q, H, C)."""
        tab = dense(q_QSHD[:, 0].reshape(-1, self.width), codes.T).view(len(q_QSHD), self.heads, -1) + self._lean(codes)
        null = tab[:, :, -1:] - self.fading.of_nothing(ops)[:, :, None]
        if not (self.equal.numel() or self.shift):
            return torch.cat([tab[:, :, :-1], null], 2)
        parts = [self._answered(tab[:, :, : self.outcomes], 0), tab[:, :, self.outcomes : -1], null]
        if self.shift:
            before = dense(q_QSHD[:, 1].reshape(-1, self.width), codes[: self.outcomes].T).view(*tab.shape[:2], -1)
            # One place more, for rows without a previous event: it adds nothing.
            parts += [self._answered(before, 1), torch.zeros_like(tab[:, :, :1])]
        return torch.cat(parts, 2)

    def _answered(self, tab_QHO: Tensor, stream: int) -> Tensor:
        """What each outcome adds with each answer to which ids are equal: (Q, H, answers x O)."""
        kinds = self.equal.shape[2]
        answer = (
            torch.arange(2**kinds, device=tab_QHO.device)[:, None] >> torch.arange(kinds, device=tab_QHO.device) & 1
        )
        added_HA = self.equal[stream] @ answer.T.float()
        return (tab_QHO[:, :, None] + added_HA[:, :, None]).flatten(2)

    def _unanswered(self, bins: Tensor) -> list[Tensor]:
        """Weight on each code whatever the ids: outcomes to the null row (Q, H, C), then previous outcomes (Q, H, O)."""
        if not (self.equal.numel() or self.shift):
            return [bins]
        gap, null = int(self.spans[0]), int(self.spans[2])
        wide = [bins[:, :, :gap], *([bins[:, :, null + 1 : -1]] if self.shift else [])]
        own, *before = [part.reshape(*part.shape[:2], -1, self.outcomes).sum(2) for part in wide]
        return [torch.cat([own, bins[:, :, gap : null + 1]], 2), *before]

    def _coded(self, bins: Tensor, codes: Tensor) -> tuple[list[Tensor], Tensor]:
        """The rows that codes stand for, weighted, of each stream that has any (Q, H, D); and what a head heard.

        Heard is the weight on each of the rows that outcomes are the sum of, and on the null row: (Q, H, F + 1).
        """
        plain = self._unanswered(bins)
        coded = [dense(part.flatten(0, 1), codes[: part.shape[2]]).view(*part.shape[:2], -1) for part in plain]
        known = dense(plain[0][:, :, : self.outcomes].reshape(-1, self.outcomes), self.outcome_parts)
        return coded, torch.cat([known.view(*bins.shape[:2], -1), plain[0][:, :, -1:]], 2)

    def _unfolded(self, streams: Sequence[Tensor]) -> Tensor:
        """What sums of rows, stream by stream (Q, H, D), are as values: (Q, D)."""
        unfold = [torch.einsum("hkd,hke->hde", value, self.out) for value in self._values()[: len(streams)]]
        if len(streams) == 1:
            return dense(streams[0].flatten(1), unfold[0].reshape(-1, self.width))
        return dense(torch.stack(list(streams), 1).flatten(1), torch.stack(unfold).reshape(-1, self.width))

    def _projected(
        self, target: Tensor, live: Tensor, extra: Tensor, ops: Operands, tab: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows_RX = rows_of(ops, live, extra).flatten(1)
        q_QHK = torch.einsum("qd,hkd->qhk", target, self.query) / self._root()
        keys = torch.einsum("rx,hkx->rhk", rows_RX, torch.cat(self._keys(), 2))
        values = [torch.einsum("rd,hkd->rhk", rows_RX[:, : self.width], self.value)]
        if self.beside_value:
            wide = torch.cat(list(self.beside_value), 2)
            values.append(torch.einsum("rx,hkx->rhk", rows_RX[:, self.width :], wide))
        value_QHK, bins = projected(q_QHK, keys, values, tab, self._worths(), ops)
        return torch.einsum("qhk,hkd->qd", value_QHK, self.out), bins

    def flops(self, queries: int, window: int) -> int:
        """Multiply-adds x 2 of the folded way, each query seeing ``window`` rows."""
        d, h, streams = self.width, self.heads, len(self._keys())
        codes, (outcomes, values) = len(self.other_rows) + self.outcomes, self.outcome_parts.shape
        once = 2 * streams * d**3 + outcomes * values * (d + h) + h * codes * (d + 2)
        # For each query and head: folded query, table and bins of codes, what was heard, the rows, the value.
        beside = self.shift * 2 * outcomes * d
        each = (2 * streams * d + 2 * codes + 2 * window * streams) * d + beside + outcomes * values
        return 2 * (once + queries * h * each)

    def _reference(self, target: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> Tensor:
        """Every x_kj written out and projected: slow and plain, what the other ways are held against."""
        views, rows_RSD, codes = ops.views, rows_of(ops, live, extra), self._codes()
        null_SD = functional.pad(codes[-1:], (0, 0, 0, rows_RSD.shape[1] - 1))
        gap0, rank0 = self.outcomes, self.outcomes + GAPS
        out = []
        for k in range(len(target)):
            x, added = [null_SD], [self._leans(torch.tensor([len(codes) - 1]), codes) - self.fading.of_nothing(ops)[k]]
            more = [torch.zeros(self.heads, self.width)]
            for j in range(int(views.begin[k]), int(views.end[k])):
                gap = int((ops.work.edges <= views.asked[k] - views.time[j]).sum())
                rank = int(ops.work.ranks[views.place[views.end[k] - 1] - views.place[j] + 1])
                x_SD = rows_RSD[j].clone()
                more.append(self._more()[:, _outcome(ops, k, j), None] * rows_RSD[j, 0])
                x_SD[0] += codes[_outcome(ops, k, j)] + codes[gap0 + gap] + codes[rank0 + rank]
                before = int(views.previous[j])
                added.append(
                    self._leans(torch.tensor([_outcome(ops, k, j), gap0 + gap, rank0 + rank]), codes)
                    + self._alike(views, k, j, 0)
                    + (self._alike(views, k, before, 1) if self.shift and before >= 0 else 0)
                )
                if self.shift and before >= 0:
                    x_SD[1] += codes[_outcome(ops, k, before)]
                x.append(x_SD)
            x_NSD = torch.stack(x)
            q = self.query @ target[k]
            key, value = (torch.einsum("nsd,shkd->hnk", x_NSD, torch.stack(w)) for w in (self._keys(), self._values()))
            value = value + torch.einsum("nhd,hkd->hnk", torch.stack(more), self.value)
            weight = (torch.einsum("hk,hnk->hn", q, key) / self._root() + torch.stack(added, 1)).softmax(1)
            out.append(torch.einsum("hn,hnk,hkd->d", weight, value, self.out))
        return torch.stack(out)

    def _lean(self, codes: Tensor) -> Tensor:
        """What each code adds to a logit, whatever the target: (H, C)."""
        return (self.own * self.soft) @ codes.T - self.fading.of_codes()

    def _leans(self, at: Tensor, codes: Tensor) -> Tensor:
        """What codes at these places (X, ...) add to a logit together, whatever the target: (H, ...)."""
        return self._lean(codes)[:, at].sum(1)

    def _alike(self, views: Views, k: int, j: int, stream: int) -> Tensor:
        if not self.equal.numel():
            return self.equal.new_zeros(self.heads)
        same = (views.row_ids[j] == views.query_ids[k]) & (views.query_ids[k] != 0)
        return self.equal[stream] @ torch.from_numpy(same).float()


def sharp_heads(heads: int, ids: int, shift: bool, layer: int) -> tuple[Tensor, Tensor]:
    """What equal ids add to logits at first (1 + shift, H, ids), and which heads look for the newest alone (H,).

    Every other head begins by asking for the newest row with the target's id, or, with token shift, for what came after
    it. Each looks at one kind of id, the next at the next, from layer to layer: together, the finest would outweigh the
    others, and an old row of the same item the newest of its category.
    """
    equal = torch.zeros(1 + shift, heads, ids)
    newest = (torch.arange(heads) % 2 == 1).float() * (ids > 0)
    equal[0, newest == 0] = SAME
    for number, head in enumerate(newest.nonzero().flatten().tolist(), layer * (heads // 2)):
        kind = -1 - number % ids
        equal[int(shift), head, kind] = SHARP
        if shift:
            equal[0, head, kind] = -SHARP
    return equal, newest


def choose(device: torch.device, width: int, heads: int, queries: int, segments: int) -> str:
    """The way to attend, by shapes alone: fused on a CPU; else project once many targets share a history."""
    if device.type == "cpu":
        return "fused"
    shared = queries / max(segments, 1)
    return "projected" if heads > 1 and segments <= 8 and shared > width / (heads - 1) else "folded"


def _of_streams(*parts: Sequence[Tensor]) -> list[list[Tensor]]:
    """What there is of each stream of rows."""
    return [[one for one in streams if one is not None] for streams in zip_longest(*parts)]


def _outcome(ops: Operands, k: int, j: int) -> int:
    return int(ops.views.outcome[j]) if ops.views.known[j] <= ops.views.asked[k] else 0
