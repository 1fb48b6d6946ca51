"""Folded target attention as two loops over memory, for CPUs: rows are read coded where they lie, each once for a segment.

What `plain.py` writes in a dozen tensor operations, without their temporaries; equal to it in values and gradients.
"""

from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from marm.nn.abreast import gather, project, spread
from marm.nn.codec import decode_row
from marm.nn.machine import LANES, apart, turn, turn_back
from marm.nn.operands import Operands
from marm.nn.softmax import exp, exp_sum, largest
from marm.types import F32

_FEW_CODES = 8


@nb.njit(cache=True, nogil=True, fastmath=True)
def _load(block, column, live, at, extra_rows, extra_at, first, last, rows, x):  # type: ignore[no-untyped-def]
    """Bring the rows [first, last) of one segment into ``x`` (S, D, rows): the state, then what travels beside it.

    Numbers of one dimension lie side by side, so that all loops after this run along the history.
    """
    for begin in range(first, last, LANES):
        tile = min(LANES, last - begin)
        for i in range(tile):
            _state(block, column, live, at[begin + i], rows[i])
        turn(rows, begin - first, x[0])
        for s in range(extra_at.shape[0]):
            for i in range(tile):
                _beside(extra_rows, extra_at[s, begin + i], rows[i])
            turn(rows, begin - first, x[s + 1])


@nb.njit(cache=True, nogil=True, fastmath=True)
def _read(block, column, live, at, extra_rows, extra_at, first, null, out):  # type: ignore[no-untyped-def]
    """``out`` (N + 1, S, D) = the rows from ``first`` on, and nothing at ``null``."""
    out[null] = 0
    for i in range(len(out) - 1):
        row = out[i + (i >= null)]
        _state(block, column, live, at[first + i], row[0])
        for s in range(extra_at.shape[0]):
            _beside(extra_rows, extra_at[s, first + i], row[s + 1])


@nb.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _state(block, column, live, source, out):  # type: ignore[no-untyped-def]
    if source >= 0:
        decode_row(block, source, column, out)
    else:
        row = np.uint64(-1 - source)
        for d in range(np.uint64(len(out))):
            out[d] = live[row, d]


@nb.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _beside(extra_rows, beside, out):  # type: ignore[no-untyped-def]
    for d in range(len(out)):
        out[d] = extra_rows[beside, d] if beside >= 0 else np.float32(0.0)


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
def _copy(x, n, out):  # type: ignore[no-untyped-def]
    """out[:n] = x[:n]; an assignment of slices would also compile its complaint, for longer than all that it says it of."""
    apart()
    for c in range(n):
        out[c] = x[c]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _times_worth(w, worth, outcome, first, n, out):  # type: ignore[no-untyped-def]
    """out[:n] = w[:n] times what the rows' outcomes make of their values."""
    apart()
    for c in range(n):
        out[c] = w[c] * worth[outcome[first + c]]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _worth_back(w, worth, outcome, first, n, taken, ds):  # type: ignore[no-untyped-def]
    """taken[:n], gradients of what was taken of rows, add to those of weights, and become those of worths."""
    apart()
    for c in range(n):
        ds[c] += taken[c] * worth[outcome[first + c]]
        taken[c] *= w[c]


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
    # Room for whole vectors past the last row; and an odd number of cache lines, so that the numbers of a row do not all fall
    # into the same few places of the cache.
    return low, high, ((most + 2 * LANES - 1) // LANES | 1) * LANES


@nb.njit(cache=True, nogil=True, fastmath=True)
def _forward(  # type: ignore[no-untyped-def]
    seg_rows, seg_queries, order, begin, end, pair, runs_at, codes, runs, spans, block, column, live, at,
    extra_rows, extra_at, q, tab, worth, weights, context, bins,
):  # fmt: skip
    """Logits, softmax and sums of each query of the segments; ``weights`` (H, P) keeps the softmax for the way back."""
    streams, heads, width, null = q.shape[1], q.shape[2], q.shape[3], spans[2]
    low, high, most = _extent(seg_rows, seg_queries, order, begin, end)
    rows = np.zeros((LANES, width), np.float32)
    x, w = np.zeros((streams, width, most), np.float32), np.zeros((heads, most), np.float32)
    for b in range(len(seg_rows) - 1):
        _load(block, column, live, at, extra_rows, extra_at, low[b], high[b], rows, x)
        for i in range(seg_queries[b], seg_queries[b + 1]):
            k = order[i]
            n, off, first = np.uint64(end[k] - begin[k]), np.uint64(begin[k] - low[b]), np.uint64(pair[k])
            whole = _whole(n)
            for h in range(heads):
                _add_codes(tab[k, h], codes, runs, first, runs_at[k], runs_at[k + 1], w[h])
            for m in range(streams):
                project(q[k, m], x[m], off, whole, w)
            for h in range(heads):
                bins[k, h, null] = _softmax(w[h], tab[k, h, null], n)
                w[h, n:whole] = 0
                _copy(w[h], n, weights[h, first:])
                _put_codes(w[h], codes, runs, first, runs_at[k], runs_at[k + 1], spans, bins[k, h])
            for m in range(1, streams):
                gather(w, x[m], off, whole, context[k, m])
            for h in range(heads):
                _times_worth(w[h], worth[h], codes[0], first, n, w[h])
            gather(w, x[0], off, whole, context[k, 0])


@nb.njit(cache=True, nogil=True, inline="always")
def _whole(n):  # type: ignore[no-untyped-def]
    """Rows up to whole vectors: the last few one by one would take as long as all before them."""
    return (n + np.uint64(LANES - 1)) // np.uint64(LANES) * np.uint64(LANES)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _backward(  # type: ignore[no-untyped-def]
    seg_rows, seg_queries, order, begin, end, pair, runs_at, codes, runs, spans, block, column, live, at,
    extra_rows, extra_at, q, worth, weights, null_weight, d_context, d_bins, dq, d_tab, d_worth, d_live, d_extra,
):  # fmt: skip
    """Gradients of queries and tables, and of those rows that have one (live ones and what travels beside)."""
    streams, heads, width, null = q.shape[1], q.shape[2], q.shape[3], spans[2]
    low, high, most = _extent(seg_rows, seg_queries, order, begin, end)
    rows = np.zeros((LANES, width), np.float32)
    x, dx = np.zeros((streams, width, most), np.float32), np.zeros((streams, width, most), np.float32)
    ds, w = np.zeros((heads, most), np.float32), np.zeros((heads, most), np.float32)
    taken = np.zeros((heads, most), np.float32)
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
            whole = _whole(n)
            for h in range(heads):
                _copy(weights[h, first:], n, w[h])
                w[h, n:whole] = 0
                _add_codes(d_bins[k, h], codes, runs, first, runs_at[k], runs_at[k + 1], ds[h])
            for m in range(1, streams):
                project(d_context[k, m], x[m], off, whole, ds)
            taken[:, :whole] = 0
            project(d_context[k, 0], x[0], off, whole, taken)
            for h in range(heads):
                _worth_back(w[h], worth[h], codes[0], first, n, taken[h], ds[h])
                _put_outcomes(taken[h], codes[0], first, first + n, 0, spans[0], d_worth[k, h])
                _times_worth(w[h], worth[h], codes[0], first, n, taken[h])
                taken[h, n:whole] = 0
                d_tab[k, h, null] = _softmax_back(w[h], ds[h], null_weight[k, h], d_bins[k, h, null], n)
                ds[h, n:whole] = 0
                _put_codes(ds[h], codes, runs, first, runs_at[k], runs_at[k + 1], spans, d_tab[k, h])
            for m in range(streams):
                gather(ds, x[m], off, whole, dq[k, m])
                # Remembered states are constants: of them nothing needs to be carried back.
                since = np.uint64(max(0, first_live - begin[k]) if m == 0 else 0)
                spread(q[k, m], d_context[k, m], ds, w if m else taken, since, off, whole, dx[m])
        _deliver(at, extra_at, low[b], first_live, high[b], rows, dx, d_live, d_extra)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _softmax_back(w, ds, null, d_null, n):  # type: ignore[no-untyped-def]
    """ds[:n], a gradient of weights, becomes one of logits in place; that of the null row's logit."""
    apart()
    mean = null * d_null
    for c in range(n):
        mean += w[c] * ds[c]
    for c in range(n):
        ds[c] = w[c] * (ds[c] - mean)
    return null * (d_null - mean)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _deliver(at, extra_at, low, first_live, high, rows, dx, d_live, d_extra):  # type: ignore[no-untyped-def]
    """Add a segment's row gradients to where the rows came from."""
    width = rows.shape[1]
    for begin in range(first_live, high, LANES):
        turn_back(dx[0], begin - low, rows)
        for i in range(min(LANES, high - begin)):
            if at[begin + i] < 0:
                for d in range(width):
                    d_live[-1 - at[begin + i], d] += rows[i, d]
    for m in range(extra_at.shape[0]):
        for begin in range(low, high, LANES):
            turn_back(dx[m + 1], begin - low, rows)
            for i in range(min(LANES, high - begin)):
                if extra_at[m, begin + i] >= 0:
                    for d in range(width):
                        d_extra[extra_at[m, begin + i], d] += rows[i, d]


def _numpy(tensor: Tensor) -> F32:
    return tensor.detach().numpy()


def rows_seen(one: Operands, live: Tensor, extra: Tensor, null: int) -> Tensor:
    """The rows that the one query sees, decoded, with a row of zeros put in at ``null``: (N + 1, S, D). No gradient."""
    first, last = int(one.views.begin[0]), int(one.views.end[0])
    out = torch.empty(last - first + 1, 1 + len(one.beside), live.shape[1])
    _read(*_rows(one, live, extra), first, null, _numpy(out))  # type: ignore[call-arg]
    return out


class FusedAttention(torch.autograd.Function):
    """(q, tab, worth, live, extra) -> (context, bins); see ``operands.py`` for the shapes."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, tab: Tensor, worth: Tensor, live: Tensor, extra: Tensor, ops: Operands
    ) -> tuple[Tensor, Tensor]:
        """Sum the rows of every view, weighted by softmax."""
        q, tab, worth = q.contiguous(), tab.contiguous(), worth.contiguous()
        context, bins = torch.zeros_like(q), torch.zeros_like(tab)
        weights = torch.empty(q.shape[2], int(ops.work.pairs_at[-1]))
        _forward(*_arrays(ops, live, extra), *(_numpy(t) for t in (q, tab, worth, weights, context, bins)))
        ctx.save_for_backward(q, worth, live, extra, weights, bins[:, :, int(ops.spans[2])].clone())
        ctx.operands = ops
        return context, bins

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q, tab, worth, live and extra."""
        q, worth, live, extra, weights, null = ctx.saved_tensors
        ops: Operands = ctx.operands
        d_context, d_bins = (_numpy(grad.contiguous()) for grad in grads)
        dq, d_tab, d_live = torch.zeros_like(q), torch.zeros(*d_bins.shape), torch.zeros_like(live)
        d_worth = torch.zeros(len(q), *worth.shape)
        d_extra = torch.zeros_like(extra) if len(ops.beside) else None
        _backward(  # type: ignore[call-arg]
            *_arrays(ops, live, extra), *(_numpy(t) for t in (q, worth, weights, null)), d_context, d_bins,
            *(_numpy(t) for t in (dq, d_tab, d_worth, d_live)), _numpy(live[:0] if d_extra is None else d_extra),
        )  # fmt: skip
        return dq, d_tab, d_worth.sum(0), d_live, d_extra, None


def _arrays(ops: Operands, live: Tensor, extra: Tensor) -> tuple[Any, ...]:
    v, work = ops.views, ops.work
    return (
        work.rows_at, work.queries_at, work.order, v.begin, v.end, work.pairs_at, work.runs_at,
        *ops.codes(), ops.spans, *_rows(ops, live, extra),
    )  # fmt: skip


def _rows(ops: Operands, live: Tensor, extra: Tensor) -> tuple[Any, ...]:
    # Of one layout only: loops are compiled anew for another.
    live, extra = live.contiguous(), extra.contiguous()
    return ops.block.view(ops.codec.bits).numpy(), ops.column, _numpy(live), ops.at, _numpy(extra), ops.beside
