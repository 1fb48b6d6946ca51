"""Plain softmax attention of many targets over one view, for CPUs: four at a time, so that a row once loaded serves them all.

Heads are narrow (16 numbers, say), so a general product spends its time on writing logits out and reading them back; here
those of four targets stay in the cache between the three loops.
"""

from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from marm.nn.machine import apart
from marm.nn.softmax import exp_sum, largest

_ABREAST = 4
"""Targets, and numbers of a row, that the loops take at a time."""


def attend_one_view(q_HGK: Tensor, key_HKN: Tensor, value_HVN: Tensor) -> Tensor:
    """softmax(q key) value, rows along the last axis of keys and values: (H, G, V). No gradient."""
    targets, width = q_HGK.shape[1], value_HVN.shape[1]
    q, key = (functional.pad(q_HGK, (0, -q_HGK.shape[2] % _ABREAST, 0, -targets % _ABREAST)), _filled(key_HKN))
    value = _filled(value_HVN)
    out = torch.empty(*q.shape[:2], value.shape[1])
    arrays = (t.contiguous().numpy() for t in (q, key, value))
    _attend(*arrays, out.numpy())  # type: ignore[call-arg]
    return out[:, :targets, :width]


def _filled(x_HKN: Tensor) -> Tensor:
    return functional.pad(x_HKN, (0, 0, 0, -x_HKN.shape[1] % _ABREAST))


@nb.njit(cache=True, nogil=True, fastmath=True)
def _attend(q: Any, key: Any, value: Any, out: Any) -> None:
    rows = key.shape[2]
    w0, w1, w2, w3 = (np.empty(rows, np.float32), np.empty(rows, np.float32),
                      np.empty(rows, np.float32), np.empty(rows, np.float32))  # fmt: skip
    for h in range(q.shape[0]):
        for g in range(0, q.shape[1], _ABREAST):
            _logits(q[h, g : g + _ABREAST], key[h], w0, w1, w2, w3)
            s0, s1 = exp_sum(w0, largest(w0, rows), rows), exp_sum(w1, largest(w1, rows), rows)
            s2, s3 = exp_sum(w2, largest(w2, rows), rows), exp_sum(w3, largest(w3, rows), rows)
            _sums(w0, w1, w2, w3, value[h], out[h, g : g + _ABREAST])
            out[h, g] /= s0
            out[h, g + 1] /= s1
            out[h, g + 2] /= s2
            out[h, g + 3] /= s3


@nb.njit(cache=True, nogil=True, fastmath=True)
def _logits(q: Any, key: Any, w0: Any, w1: Any, w2: Any, w3: Any) -> None:
    """w[t] = q[t] (K,) times key (K, N)."""
    apart()
    rows = np.uint64(key.shape[1])
    w0[:], w1[:], w2[:], w3[:] = 0, 0, 0, 0
    for d in range(0, q.shape[1], 4):
        k0, k1, k2, k3 = key[d], key[d + 1], key[d + 2], key[d + 3]
        a0, a1, a2, a3 = q[0, d], q[0, d + 1], q[0, d + 2], q[0, d + 3]
        b0, b1, b2, b3 = q[1, d], q[1, d + 1], q[1, d + 2], q[1, d + 3]
        c0, c1, c2, c3 = q[2, d], q[2, d + 1], q[2, d + 2], q[2, d + 3]
        d0, d1, d2, d3 = q[3, d], q[3, d + 1], q[3, d + 2], q[3, d + 3]
        for j in range(rows):
            x0, x1, x2, x3 = k0[j], k1[j], k2[j], k3[j]
            w0[j] += (a0 * x0 + a1 * x1) + (a2 * x2 + a3 * x3)
            w1[j] += (b0 * x0 + b1 * x1) + (b2 * x2 + b3 * x3)
            w2[j] += (c0 * x0 + c1 * x1) + (c2 * x2 + c3 * x3)
            w3[j] += (d0 * x0 + d1 * x1) + (d2 * x2 + d3 * x3)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _sums(w0: Any, w1: Any, w2: Any, w3: Any, value: Any, out: Any) -> None:
    """out[t] (V,) = value (V, N) times w[t]."""
    apart()
    rows, zero = np.uint64(value.shape[1]), np.float32(0.0)
    for d in range(0, value.shape[0], 4):
        v0, v1, v2, v3 = value[d], value[d + 1], value[d + 2], value[d + 3]
        a0, a1, a2, a3 = zero, zero, zero, zero
        b0, b1, b2, b3 = zero, zero, zero, zero
        c0, c1, c2, c3 = zero, zero, zero, zero
        d0, d1, d2, d3 = zero, zero, zero, zero
        for j in range(rows):
            x0, x1, x2, x3 = v0[j], v1[j], v2[j], v3[j]
            p0, p1, p2, p3 = w0[j], w1[j], w2[j], w3[j]
            a0, a1, a2, a3 = a0 + p0 * x0, a1 + p0 * x1, a2 + p0 * x2, a3 + p0 * x3
            b0, b1, b2, b3 = b0 + p1 * x0, b1 + p1 * x1, b2 + p1 * x2, b3 + p1 * x3
            c0, c1, c2, c3 = c0 + p2 * x0, c1 + p2 * x1, c2 + p2 * x2, c3 + p2 * x3
            d0, d1, d2, d3 = d0 + p3 * x0, d1 + p3 * x1, d2 + p3 * x2, d3 + p3 * x3
        out[0, d], out[0, d + 1], out[0, d + 2], out[0, d + 3] = a0, a1, a2, a3
        out[1, d], out[1, d + 1], out[1, d + 2], out[1, d + 3] = b0, b1, b2, b3
        out[2, d], out[2, d + 1], out[2, d + 2], out[2, d + 3] = c0, c1, c2, c3
        out[3, d], out[3, d + 1], out[3, d + 2], out[3, d + 3] = d0, d1, d2, d3
