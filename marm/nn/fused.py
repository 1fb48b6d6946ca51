"""Folded target attention as two loops over memory, for CPUs: rows are read coded where they lie, each once for a segment.

What `plain.py` writes in a dozen tensor operations, without their temporaries; equal to it in values and gradients.
"""

from typing import Any

import numba as nb
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

from marm.nn.machine import apart, widen
from marm.nn.operands import Operands
from marm.nn.softmax import exp, exp_sum, largest
from marm.types import F32

_FEW_CODES = 8
_TILE = 16
"""Rows turned from row by row to number by number at a time."""


def _decode(block: Any, row: int, column: int, out: Any) -> None:
    """Decode one state into ``out`` (D,)."""
    raise NotImplementedError


@overload(_decode, inline="always")
def _decode_by_type(block: Any, row: int, column: int, out: Any) -> Any:
    if block.dtype == nb.types.uint16:

        def half(block: Any, row: int, column: int, out: Any) -> None:
            i, first = np.uint64(row), np.uint64(column)
            for d in range(np.uint64(len(out))):
                out[d] = widen(block[i, first + d])

        return half

    def full(block: Any, row: int, column: int, out: Any) -> None:
        i, first = np.uint64(row), np.uint64(column)
        for d in range(np.uint64(len(out))):
            out[d] = block[i, first + d]

    return full


@nb.njit(cache=True, nogil=True, fastmath=True)
def _load(block, column, live, at, extra_rows, extra_at, first, last, rows, x):  # type: ignore[no-untyped-def]
    """Bring the rows [first, last) of one segment into ``x`` (S, D, rows): the state, then what travels beside it.

    Numbers of one dimension lie side by side, so that all loops after this run along the history.
    """
    width = live.shape[1]
    for begin in range(first, last, _TILE):
        tile = min(_TILE, last - begin)
        for i in range(tile):
            source = at[begin + i]
            if source >= 0:
                _decode(block, source, column, rows[i])
            else:
                for d in range(width):
                    rows[i, d] = live[-1 - source, d]
        _turn(rows, np.uint64(tile), np.uint64(begin - first), x[0])
        for s in range(extra_at.shape[0]):
            for i in range(tile):
                beside = extra_at[s, begin + i]
                for d in range(width):
                    rows[i, d] = extra_rows[beside, d] if beside >= 0 else np.float32(0.0)
            _turn(rows, np.uint64(tile), np.uint64(begin - first), x[s + 1])


@nb.njit(cache=True, nogil=True, fastmath=True)
def _turn(rows, tile, to, x):  # type: ignore[no-untyped-def]
    """Write a tile of rows as columns of ``x``."""
    apart()
    for d in range(rows.shape[1]):
        for i in range(tile):
            x[d, to + i] = rows[i, d]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _project(q, x, off, n, out):  # type: ignore[no-untyped-def]
    """out[:n] += q (D,) times x (D, rows) from ``off`` on."""
    apart()
    width = len(q)
    whole = width // 8 * 8
    for d in range(0, whole, 8):
        q0, q1, q2, q3 = q[d], q[d + 1], q[d + 2], q[d + 3]
        q4, q5, q6, q7 = q[d + 4], q[d + 5], q[d + 6], q[d + 7]
        for c in range(n):
            i = off + c
            out[c] += (
                (q0 * x[d, i] + q1 * x[d + 1, i]) + (q2 * x[d + 2, i] + q3 * x[d + 3, i])
                + (q4 * x[d + 4, i] + q5 * x[d + 5, i]) + (q6 * x[d + 6, i] + q7 * x[d + 7, i])
            )  # fmt: skip
    for d in range(whole, width):
        for c in range(n):
            out[c] += q[d] * x[d, off + c]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _gather(w, x, off, n, out):  # type: ignore[no-untyped-def]
    """out (D,) += w[:n] times x (D, rows) from ``off`` on, transposed."""
    apart()
    width = len(out)
    whole = width // 4 * 4
    zero = np.float32(0.0)
    for d in range(0, whole, 4):
        a0, a1, a2, a3 = zero, zero, zero, zero
        for c in range(n):
            i = off + c
            a0 += w[c] * x[d, i]
            a1 += w[c] * x[d + 1, i]
            a2 += w[c] * x[d + 2, i]
            a3 += w[c] * x[d + 3, i]
        out[d] += a0
        out[d + 1] += a1
        out[d + 2] += a2
        out[d + 3] += a3
    for d in range(whole, width):
        a0 = zero
        for c in range(n):
            a0 += w[c] * x[d, off + c]
        out[d] += a0


@nb.njit(cache=True, nogil=True, fastmath=True)
def _add_codes(tab, codes, runs, pair, first, last, out):  # type: ignore[no-untyped-def]
    """out[:n] = what each pair's codes add: outcomes one by one, gap and rank by run of pairs that share both."""
    apart()
    outcome = codes[0]
    for r in range(first, last):
        shared = tab[runs[1, r]] + tab[runs[2, r]]
        for c in range(np.uint64(runs[0, r]), np.uint64(runs[0, r + 1])):
            out[c - pair] = shared + tab[outcome[c]]
    if codes.shape[0] > 1:
        before = codes[1]
        for c in range(np.uint64(runs[0, first]), np.uint64(runs[0, last])):
            out[c - pair] += tab[before[c]]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _put_codes(w, codes, runs, pair, first, last, spans, bins):  # type: ignore[no-untyped-def]
    """bins[code] += w[:n] for each pair's codes."""
    for r in range(first, last):
        total = np.float32(0.0)
        for c in range(np.uint64(runs[0, r]), np.uint64(runs[0, r + 1])):
            total += w[c - pair]
        bins[runs[1, r]] += total
        bins[runs[2, r]] += total
    begin, end = np.uint64(runs[0, first]), np.uint64(runs[0, last])
    _put_outcomes(w, codes[0], begin, end, 0, spans[0], bins)
    if codes.shape[0] > 1:
        _put_outcomes(w, codes[1], begin, end, spans[3], spans[3] + spans[0] + 1, bins)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _put_outcomes(w, outcome, begin, end, low, high, bins):  # type: ignore[no-untyped-def]
    """bins[low:high] += w by outcome: few codes one after the other, since sums into one place wait for each other."""
    apart()
    if high - low <= _FEW_CODES:
        for code in range(low, high):
            total = np.float32(0.0)
            for c in range(begin, end):
                total += w[c - begin] if outcome[c] == code else np.float32(0.0)
            bins[code] += total
    else:
        for c in range(begin, end):
            bins[outcome[c]] += w[c - begin]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _softmax(logit, null, n):  # type: ignore[no-untyped-def]
    """Softmax of logit[:n] and the null row's in place; the null row's weight."""
    top = max(null, largest(logit, n)) if n else null
    first = exp(null - top)
    scale = np.float32(1.0) / (first + exp_sum(logit, top, n))
    _scale(logit, scale, n)
    return first * scale


@nb.njit(cache=True, nogil=True, fastmath=True)
def _scale(x, by, n):  # type: ignore[no-untyped-def]
    apart()
    for c in range(n):
        x[c] *= by


@nb.njit(cache=True, nogil=True)
def _extent(seg_rows, seg_queries, order, begin, end):  # type: ignore[no-untyped-def]
    """First and one past the last row that any query of each segment sees, and the most rows of a segment."""
    segments = len(seg_rows) - 1
    low, high, most = np.empty(segments, np.int64), np.empty(segments, np.int64), 1
    for b in range(segments):
        low[b], high[b] = seg_rows[b + 1], seg_rows[b]
        for i in range(seg_queries[b], seg_queries[b + 1]):
            if end[order[i]] > begin[order[i]]:
                low[b] = min(low[b], begin[order[i]])
                high[b] = max(high[b], end[order[i]])
        most = max(most, high[b] - low[b])
    # Whole cache lines, an odd number of them: rows begin at one, and do not all fall into the same few places of the cache.
    return low, high, (most // 32 * 2 + 1 + 2 * (most % 32 > 16)) * 16


@nb.njit(cache=True, nogil=True, fastmath=True)
def _forward(  # type: ignore[no-untyped-def]
    seg_rows, seg_queries, order, begin, end, pair, runs_at, codes, runs, spans, block, column, live, at,
    extra_rows, extra_at, q, tab, weights, context, bins,
):  # fmt: skip
    """Logits, softmax and sums of each query of the segments; ``weights`` (H, P) keeps the softmax for the way back."""
    streams, heads, width, null = q.shape[1], q.shape[2], q.shape[3], spans[2]
    low, high, most = _extent(seg_rows, seg_queries, order, begin, end)
    rows = np.empty((_TILE, width), np.float32)
    x = np.empty((streams, width, most), np.float32)
    # A buffer of its own, not a slice, and places without sign: so the compiler knows that numbers lie side by side.
    w = np.empty(most, np.float32)
    for b in range(len(seg_rows) - 1):
        _load(block, column, live, at, extra_rows, extra_at, low[b], high[b], rows, x)
        for i in range(seg_queries[b], seg_queries[b + 1]):
            k = order[i]
            n, off, first = np.uint64(end[k] - begin[k]), np.uint64(begin[k] - low[b]), np.uint64(pair[k])
            for h in range(heads):
                _add_codes(tab[k, h], codes, runs, first, runs_at[k], runs_at[k + 1], w)
                for m in range(streams):
                    _project(q[k, m, h], x[m], off, n, w)
                bins[k, h, null] = _softmax(w, tab[k, h, null], n)
                for c in range(n):
                    weights[h, first + c] = w[c]
                _put_codes(w, codes, runs, first, runs_at[k], runs_at[k + 1], spans, bins[k, h])
                for m in range(streams):
                    _gather(w, x[m], off, n, context[k, m, h])


@nb.njit(cache=True, nogil=True, fastmath=True)
def _backward(  # type: ignore[no-untyped-def]
    seg_rows, seg_queries, order, begin, end, pair, runs_at, codes, runs, spans, block, column, live, at,
    extra_rows, extra_at, q, weights, null_weight, d_context, d_bins, dq, d_tab, d_live, d_extra,
):  # fmt: skip
    """Gradients of queries and tables, and of those rows that have one (live ones and what travels beside)."""
    streams, heads, width, null = q.shape[1], q.shape[2], q.shape[3], spans[2]
    low, high, most = _extent(seg_rows, seg_queries, order, begin, end)
    rows = np.empty((_TILE, width), np.float32)
    x, dx = np.empty((streams, width, most), np.float32), np.empty((streams, width, most), np.float32)
    ds, w = np.empty(most, np.float32), np.empty(most, np.float32)
    for b in range(len(seg_rows) - 1):
        _load(block, column, live, at, extra_rows, extra_at, low[b], high[b], rows, x)
        first_live = high[b]
        for j in range(low[b], high[b]):
            if at[j] < 0:
                first_live = j
                break
        dx[:, :, : high[b] - low[b]] = 0
        for i in range(seg_queries[b], seg_queries[b + 1]):
            k = order[i]
            n, off, first = np.uint64(end[k] - begin[k]), np.uint64(begin[k] - low[b]), np.uint64(pair[k])
            for h in range(heads):
                for c in range(n):
                    w[c] = weights[h, first + c]
                _add_codes(d_bins[k, h], codes, runs, first, runs_at[k], runs_at[k + 1], ds)
                for m in range(streams):
                    _project(d_context[k, m, h], x[m], off, n, ds)
                mean = null_weight[k, h] * d_bins[k, h, null]
                for c in range(n):
                    mean += w[c] * ds[c]
                d_tab[k, h, null] = null_weight[k, h] * (d_bins[k, h, null] - mean)
                for c in range(n):
                    ds[c] = w[c] * (ds[c] - mean)
                _put_codes(ds, codes, runs, first, runs_at[k], runs_at[k + 1], spans, d_tab[k, h])
                for m in range(streams):
                    _gather(ds, x[m], off, n, dq[k, m, h])
                    # Remembered states are constants: of them nothing needs to be carried back.
                    since = np.uint64(max(0, first_live - begin[k]) if m == 0 else 0)
                    _spread(q[k, m, h], d_context[k, m, h], ds, w, since, off, n, dx[m])
        _deliver(at, extra_at, low[b], first_live, high[b], dx, d_live, d_extra)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _spread(q, d_context, ds, w, since, off, n, dx):  # type: ignore[no-untyped-def]
    """dx (D, rows) += q ds + d_context w, for pairs from ``since`` on."""
    apart()
    for d in range(len(q)):
        q_d, c_d = q[d], d_context[d]
        for c in range(since, n):
            dx[d, off + c] += q_d * ds[c] + c_d * w[c]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _deliver(at, extra_at, low, first_live, high, dx, d_live, d_extra):  # type: ignore[no-untyped-def]
    """Add a segment's row gradients to where the rows came from."""
    width = dx.shape[1]
    for j in range(first_live, high):
        if at[j] < 0:
            for d in range(width):
                d_live[-1 - at[j], d] += dx[0, d, j - low]
    for m in range(extra_at.shape[0]):
        for j in range(low, high):
            if extra_at[m, j] >= 0:
                for d in range(width):
                    d_extra[extra_at[m, j], d] += dx[m + 1, d, j - low]


def _numpy(tensor: Tensor) -> F32:
    return tensor.detach().numpy()


class FusedAttention(torch.autograd.Function):
    """(q, tab, live, extra) -> (context, bins); see ``operands.py`` for the shapes."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, tab: Tensor, live: Tensor, extra: Tensor, ops: Operands) -> tuple[Tensor, Tensor]:
        """Sum the rows of every view, weighted by softmax."""
        q, tab = q.contiguous(), tab.contiguous()
        context, bins = torch.zeros_like(q), torch.zeros_like(tab)
        weights = torch.empty(q.shape[2], int(ops.work.pairs_at[-1]))
        _forward(*_arrays(ops, live, extra), *(_numpy(t) for t in (q, tab, weights, context, bins)))
        ctx.save_for_backward(q, live, extra, weights, bins[:, :, int(ops.spans[2])].clone())
        ctx.operands = ops
        return context, bins

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q, tab, live and extra."""
        q, live, extra, weights, null = ctx.saved_tensors
        ops: Operands = ctx.operands
        d_context, d_bins = (_numpy(grad.contiguous()) for grad in grads)
        dq, d_tab, d_live = torch.zeros_like(q), torch.zeros(*d_bins.shape), torch.zeros_like(live)
        d_extra = torch.zeros_like(extra) if len(ops.beside) else None
        _backward(  # type: ignore[call-arg]
            *_arrays(ops, live, extra), *(_numpy(t) for t in (q, weights, null)), d_context, d_bins,
            *(_numpy(t) for t in (dq, d_tab, d_live)), _numpy(live[:0] if d_extra is None else d_extra),
        )  # fmt: skip
        return dq, d_tab, d_live, d_extra, None


def _arrays(ops: Operands, live: Tensor, extra: Tensor) -> tuple[Any, ...]:
    v, work = ops.views, ops.work
    return (
        work.rows_at, work.queries_at, work.order, v.begin, v.end, work.pairs_at, work.runs_at,
        *ops.codes(), ops.spans,
        ops.block_numpy(), ops.column, _numpy(live), ops.at, _numpy(extra), ops.beside,
    )  # fmt: skip
