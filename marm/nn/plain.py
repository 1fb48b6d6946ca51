"""Target attention in plain tensor operations: the reference, and the ways for accelerators."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from marm.nn.operands import Operands
from marm.types import I64


@dataclass(frozen=True)
class Pairs:
    """Every pair of a query and a row it sees, padded: all on the device."""

    row: Tensor
    """(Q, N), -1: padding."""
    codes: list[Tensor]
    """(Q, N) each: places in the table of codes, 0 where padded."""


def pairs_of(ops: Operands, device: torch.device) -> Pairs:
    """Write out the pairs of a pass."""
    v = ops.views
    at = v.begin[:, None] + np.arange(max(v.longest, 1))
    real = at < v.end[:, None]
    flat = ops.pair_codes()
    codes = np.zeros((len(flat), *at.shape), np.int64)
    codes[:, real] = flat
    row = torch.from_numpy(np.where(real, at, -1)).to(device)
    return Pairs(row, list(torch.from_numpy(codes).to(device)))


def rows_of(ops: Operands, live: Tensor, extra: Tensor) -> Tensor:
    """All rows of a layer, decoded: (R, S, D)."""
    streams = [_state_rows(ops, live)]
    for beside in ops.beside:
        at = torch.from_numpy(beside).to(live.device)
        streams.append(torch.where((at >= 0)[:, None], extra[at.clamp(min=0)], 0.0))
    return torch.stack(streams, 1)


def _state_rows(ops: Operands, live: Tensor) -> Tensor:
    at = torch.from_numpy(ops.at).to(live.device)
    made = live[(-1 - at).clamp(min=0)] if len(live) else live.new_zeros(len(at), live.shape[1])
    if not ops.block.numel():
        return made
    block = ops.block[:, ops.column : ops.column + ops.codec.columns(live.shape[1])]
    return torch.where((at >= 0)[:, None], ops.codec.decode(block[at.clamp(min=0)]), made)


def _codes(tab_QHC: Tensor, pairs: Pairs) -> Tensor:
    """Logits that codes add to each pair: (Q, H, N)."""
    picked = [tab_QHC.gather(2, code[:, None].expand(-1, tab_QHC.shape[1], -1)) for code in pairs.codes]
    return torch.stack(picked).sum(0)


def _softmax(logit_QHN: Tensor, tab_QHC: Tensor, pairs: Pairs, spans: I64) -> tuple[Tensor, Tensor]:
    """Weights of the pairs and of the null row: (Q, H, N), (Q, H)."""
    logit = logit_QHN.masked_fill((pairs.row < 0)[:, None], float("-inf"))
    weight = torch.cat([logit, tab_QHC[:, :, int(spans[2])].unsqueeze(2)], 2).softmax(2)
    return weight[:, :, :-1], weight[:, :, -1]


def _bins(weight_QHN: Tensor, null_QH: Tensor, pairs: Pairs, spans: I64, codes: int) -> Tensor:
    """How much weight each code received: (Q, H, C)."""
    bins = weight_QHN.new_zeros(*weight_QHN.shape[:2], codes)
    for code in pairs.codes:
        bins = bins.scatter_add(2, code[:, None].expand_as(weight_QHN), weight_QHN)
    null = torch.zeros_like(bins)
    null[:, :, int(spans[2])] = null_QH
    return bins + null


def folded(q: Tensor, tab: Tensor, worth: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> tuple[Tensor, Tensor]:
    """Folded attention without a fused loop: never projects the history; O(Q N H D)."""
    pairs = pairs_of(ops, q.device)
    rows_QNSD = _rows_seen(q, live, extra, ops, pairs)
    weight, null = _weigh(q, tab, rows_QNSD, pairs, ops.spans)
    taken, *beside = rows_QNSD.unbind(2)
    parts = [(_worthy(weight, worth, pairs), taken), *((weight, row) for row in beside)]
    context = torch.stack([torch.einsum("qhn,qnd->qhd", *part) for part in parts], 1)
    return context, _bins(weight, null, pairs, ops.spans, tab.shape[2])


def _worthy(weight_QHN: Tensor, worth_HO: Tensor, pairs: Pairs) -> Tensor:
    """Weights times what the rows' outcomes make of their values: (Q, H, N)."""
    return weight_QHN * worth_HO[:, pairs.codes[0]].transpose(0, 1)


def weights(q: Tensor, tab: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> Tensor:
    """How each head weighs what it sees: (Q, H, N + 1), oldest row first, after the view's end zeros, the null row last."""
    pairs = pairs_of(ops, q.device)
    weight, null = _weigh(q, tab, _rows_seen(q, live, extra, ops, pairs), pairs, ops.spans)
    return torch.cat([weight, null[:, :, None]], 2)


def _rows_seen(q: Tensor, live: Tensor, extra: Tensor, ops: Operands, pairs: Pairs) -> Tensor:
    rows_RSD = rows_of(ops, live, extra)
    if not len(rows_RSD):
        rows_RSD = q.new_zeros(1, q.shape[1], q.shape[3])
    return rows_RSD[pairs.row.clamp(min=0)]


def _weigh(q: Tensor, tab: Tensor, rows_QNSD: Tensor, pairs: Pairs, spans: I64) -> tuple[Tensor, Tensor]:
    logit = torch.einsum("qshd,qnsd->qhn", q, rows_QNSD) + _codes(tab, pairs)
    return _softmax(logit, tab, pairs, spans)


def projected(
    q_QHK: Tensor, keys_RHK: Tensor, values: list[Tensor], tab: Tensor, worth: Tensor, ops: Operands
) -> tuple[Tensor, Tensor]:
    """Attention over keys and values projected once for each segment: (Q, H, dk) and bins; for many queries a segment.

    ``values``: of the rows, which their outcomes make more or less of, and of what travels beside them, if anything
    does; (R, H, dk) each.
    """
    pairs = pairs_of(ops, q_QHK.device)
    work, device = ops.work, q_QHK.device
    logit = q_QHK.new_zeros(len(q_QHK), q_QHK.shape[1], pairs.row.shape[1])
    # One product for each segment: its queries against the range of rows that any of them sees.
    spans = [_segment(ops, b) for b in range(len(work.rows_at) - 1)]
    for queries, low, high in spans:
        if high > low and len(queries):
            at = torch.from_numpy(queries).to(device)
            full = torch.einsum("qhk,rhk->qhr", q_QHK[at], keys_RHK[low:high])
            local = (pairs.row[at] - low).clamp(min=0)
            logit = logit.index_copy(0, at, full.gather(2, local[:, None].expand(-1, full.shape[1], -1)))
    weight, null = _softmax(logit + _codes(tab, pairs), tab, pairs, ops.spans)
    value = torch.zeros_like(q_QHK)
    taken = [_worthy(weight, worth, pairs), weight][: len(values)]
    for queries, low, high in spans:
        if high > low and len(queries):
            at = torch.from_numpy(queries).to(device)
            local = (pairs.row[at] - low).clamp(min=0)[:, None].expand(-1, weight.shape[1], -1)
            none = weight.new_zeros(len(queries), weight.shape[1], high - low)
            spread = [none.scatter_add(2, local, one[at]) for one in taken]
            made = [torch.einsum("qhr,rhk->qhk", w, v[low:high]) for w, v in zip(spread, values, strict=True)]
            value = value.index_copy(0, at, torch.stack(made).sum(0))
    return value, _bins(weight, null, pairs, ops.spans, tab.shape[2])


def _segment(ops: Operands, b: int) -> tuple[I64, int, int]:
    work, views = ops.work, ops.views
    queries = work.order[work.queries_at[b] : work.queries_at[b + 1]]
    if not len(queries):
        return queries, 0, 0
    return queries, int(views.begin[queries].min()), int(views.end[queries].max())
