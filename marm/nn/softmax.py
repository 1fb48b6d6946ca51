"""The loops of a softmax, written so that they vectorize."""

import numba as nb
import numpy as np

from marm.nn.machine import apart

_LOW = np.int32(0x7FFFFFFF)


@nb.njit(cache=True, nogil=True, fastmath=True, inline="always")
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for x <= 0 to float32 precision, without a call, so that loops over it vectorize."""
    t = max(x, np.float32(-87.0)) * np.float32(1.44269504)
    k = np.floor(t + np.float32(0.5))
    g = t - k
    p = np.float32(1.5403530e-4) * g + np.float32(1.3333558e-3)
    p = p * g + np.float32(9.6181291e-3)
    p = p * g + np.float32(5.5504109e-2)
    p = p * g + np.float32(2.4022651e-1)
    p = p * g + np.float32(6.9314718e-1)
    p = p * g + np.float32(1.0)
    return p * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)


@nb.njit(cache=True, nogil=True, fastmath=True)
def largest(x, n):  # type: ignore[no-untyped-def]
    """The largest of x[:n]: as whole numbers in the order of floats, since a float's maximum stays one at a time."""
    apart()
    bits, top = x.view(np.int32), np.int32(-(1 << 31))
    for c in range(np.uint64(n)):
        top = max(top, bits[c] ^ ((bits[c] >> np.int32(31)) & _LOW))
    return np.int32(top ^ ((top >> np.int32(31)) & _LOW)).view(np.float32)


@nb.njit(cache=True, nogil=True, fastmath=True)
def exp_sum(x, top, n):  # type: ignore[no-untyped-def]
    """x[:n] = e^(x - top) in place; their sum."""
    apart()
    total = np.float32(0.0)
    for c in range(np.uint64(n)):
        x[c] = exp(x[c] - top)
    for c in range(np.uint64(n)):
        total += x[c]
    return total
