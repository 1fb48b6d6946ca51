"""Binary signatures: which side of fixed random planes a row lies on (Charikar 2002; of histories: ETA, Chen et al. 2021).

Rows at a small angle differ in few bits. The planes hang on nothing but their number and width, so that signatures in a store
outlive any library's random numbers.
"""

from functools import cache

import numba as nb
import numpy as np
from torch import Tensor

from marm.mix import GOLDEN, mix
from marm.types import F32, U64


@cache
def planes(width: int, bits: int) -> F32:
    """Normals of the planes: (D, bits), nearly Gaussian whole numbers."""
    return _planes(width, bits)


@nb.njit(cache=True)
def _planes(width: int, bits: int) -> F32:
    out = np.empty((width, bits), np.float32)
    for d in range(width):
        for b in range(bits):
            drawn = mix(np.uint64(d * 4096 + b + 1) * GOLDEN)
            total = np.int64(0)
            for part in range(4):
                total += np.int64((drawn >> np.uint64(16 * part)) & np.uint64(0xFFFF))
            out[d, b] = total - 2 * 0xFFFF
    return out


def signatures(rows_QKD: Tensor, bits: int) -> U64:
    """Signatures of each query's rows, one after the other: (Q, K x bits / 64)."""
    queries, depths, width = rows_QKD.shape
    flat = rows_QKD.reshape(-1, width).cpu().numpy()
    return signs(flat, planes(width, bits)).reshape(queries, depths * bits // 64)


@nb.njit(cache=True, nogil=True)
def signs(x: F32, normals: F32) -> U64:
    """Signatures of rows (R, D): (R, bits / 64). Sums run in order of D, so a row's do not hang on the rows beside it."""
    width, bits = normals.shape
    out = np.zeros((len(x), bits // 64), np.uint64)
    side = np.empty(bits, np.float32)
    for i in range(len(x)):
        side[:] = 0
        for d in range(width):
            for b in range(bits):
                side[b] += x[i, d] * normals[d, b]
        for b in range(bits):
            if side[b] > 0:
                out[i, b // 64] |= np.uint64(1) << np.uint64(b % 64)
    return out
