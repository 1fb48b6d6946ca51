"""The products of attention for CPUs, all heads of a target side by side: a number of a row once loaded serves four of them.

    x (D, N)     rows along the last axis, from ``off`` on     q, out (H, D)     w (H, N) one weight or logit for each row

``n`` rows, of which a caller may ask for a few too many, up to whole vectors: what those hold is finite, and weighs nothing.
"""

from typing import Any

import numba as nb
import numpy as np

from marm.nn.machine import apart


@nb.njit(cache=True, nogil=True, fastmath=True)
def project(q: Any, x: Any, off: Any, n: Any, w: Any) -> None:
    """w[:, :n] += q x."""
    heads = len(q) // 4 * 4
    for h in range(0, heads, 4):
        _project_four(q[h : h + 4], x, off, n, w[h : h + 4])
    for h in range(heads, len(q)):
        _project_one(q[h], x, off, n, w[h])


@nb.njit(cache=True, nogil=True, fastmath=True)
def gather(w: Any, x: Any, off: Any, n: Any, out: Any) -> None:
    """out += w[:, :n] x, transposed."""
    heads = len(out) // 4 * 4
    for h in range(0, heads, 4):
        _gather_four(w[h : h + 4], x, off, n, out[h : h + 4])
    for h in range(heads, len(out)):
        _gather_one(w[h], x, off, n, out[h])


@nb.njit(cache=True, nogil=True, fastmath=True)
def spread(q: Any, g: Any, v: Any, w: Any, since: Any, off: Any, n: Any, x: Any) -> None:
    """x += sum over heads of q v + g w, for rows from ``since`` on: the way back of both."""
    heads = len(q) // 4 * 4
    for h in range(0, heads, 4):
        _spread_four(q[h : h + 4], g[h : h + 4], v[h : h + 4], w[h : h + 4], since, off, n, x)
    for h in range(heads, len(q)):
        _spread_one(q[h], g[h], v[h], w[h], since, off, n, x)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _project_four(q, x, off, n, w):  # type: ignore[no-untyped-def]
    apart()
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    whole = q.shape[1] // 4 * 4
    for d in range(0, whole, 4):
        x0, x1, x2, x3 = x[d], x[d + 1], x[d + 2], x[d + 3]
        a0, a1, a2, a3 = q[0, d], q[0, d + 1], q[0, d + 2], q[0, d + 3]
        b0, b1, b2, b3 = q[1, d], q[1, d + 1], q[1, d + 2], q[1, d + 3]
        c0, c1, c2, c3 = q[2, d], q[2, d + 1], q[2, d + 2], q[2, d + 3]
        d0, d1, d2, d3 = q[3, d], q[3, d + 1], q[3, d + 2], q[3, d + 3]
        for j in range(n):
            i = off + j
            y0, y1, y2, y3 = x0[i], x1[i], x2[i], x3[i]
            w0[j] += (a0 * y0 + a1 * y1) + (a2 * y2 + a3 * y3)
            w1[j] += (b0 * y0 + b1 * y1) + (b2 * y2 + b3 * y3)
            w2[j] += (c0 * y0 + c1 * y1) + (c2 * y2 + c3 * y3)
            w3[j] += (d0 * y0 + d1 * y1) + (d2 * y2 + d3 * y3)
    for d in range(whole, q.shape[1]):
        for j in range(n):
            y = x[d, off + j]
            w0[j] += q[0, d] * y
            w1[j] += q[1, d] * y
            w2[j] += q[2, d] * y
            w3[j] += q[3, d] * y


@nb.njit(cache=True, nogil=True, fastmath=True)
def _project_one(q, x, off, n, w):  # type: ignore[no-untyped-def]
    apart()
    for d in range(len(q)):
        for j in range(n):
            w[j] += q[d] * x[d, off + j]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _gather_four(w, x, off, n, out):  # type: ignore[no-untyped-def]
    apart()
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    whole, zero = out.shape[1] // 4 * 4, np.float32(0.0)
    for d in range(0, whole, 4):
        x0, x1, x2, x3 = x[d], x[d + 1], x[d + 2], x[d + 3]
        a0, a1, a2, a3 = zero, zero, zero, zero
        b0, b1, b2, b3 = zero, zero, zero, zero
        c0, c1, c2, c3 = zero, zero, zero, zero
        d0, d1, d2, d3 = zero, zero, zero, zero
        for j in range(n):
            i = off + j
            y0, y1, y2, y3 = x0[i], x1[i], x2[i], x3[i]
            p0, p1, p2, p3 = w0[j], w1[j], w2[j], w3[j]
            a0, a1, a2, a3 = a0 + p0 * y0, a1 + p0 * y1, a2 + p0 * y2, a3 + p0 * y3
            b0, b1, b2, b3 = b0 + p1 * y0, b1 + p1 * y1, b2 + p1 * y2, b3 + p1 * y3
            c0, c1, c2, c3 = c0 + p2 * y0, c1 + p2 * y1, c2 + p2 * y2, c3 + p2 * y3
            d0, d1, d2, d3 = d0 + p3 * y0, d1 + p3 * y1, d2 + p3 * y2, d3 + p3 * y3
        _add_four(out[0], d, a0, a1, a2, a3)
        _add_four(out[1], d, b0, b1, b2, b3)
        _add_four(out[2], d, c0, c1, c2, c3)
        _add_four(out[3], d, d0, d1, d2, d3)
    for d in range(whole, out.shape[1]):
        for h in range(4):
            total = zero
            for j in range(n):
                total += w[h, j] * x[d, off + j]
            out[h, d] += total


@nb.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _add_four(out, d, a, b, c, e):  # type: ignore[no-untyped-def]
    out[d] += a
    out[d + 1] += b
    out[d + 2] += c
    out[d + 3] += e


@nb.njit(cache=True, nogil=True, fastmath=True)
def _gather_one(w, x, off, n, out):  # type: ignore[no-untyped-def]
    apart()
    for d in range(len(out)):
        total = np.float32(0.0)
        for j in range(n):
            total += w[j] * x[d, off + j]
        out[d] += total


@nb.njit(cache=True, nogil=True, fastmath=True)
def _spread_four(q, g, v, w, since, off, n, x):  # type: ignore[no-untyped-def]
    apart()
    v0, v1, v2, v3 = v[0], v[1], v[2], v[3]
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for d in range(q.shape[1]):
        a0, a1, a2, a3 = q[0, d], q[1, d], q[2, d], q[3, d]
        b0, b1, b2, b3 = g[0, d], g[1, d], g[2, d], g[3, d]
        x_d = x[d]
        for j in range(since, n):
            x_d[off + j] += ((a0 * v0[j] + a1 * v1[j]) + (a2 * v2[j] + a3 * v3[j])) + (
                (b0 * w0[j] + b1 * w1[j]) + (b2 * w2[j] + b3 * w3[j])
            )


@nb.njit(cache=True, nogil=True, fastmath=True)
def _spread_one(q, g, v, w, since, off, n, x):  # type: ignore[no-untyped-def]
    apart()
    for d in range(len(q)):
        for j in range(since, n):
            x[d, off + j] += q[d] * v[j] + g[d] * w[j]
