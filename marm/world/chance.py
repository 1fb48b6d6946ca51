"""Random numbers of each user on their own: the same whatever the number of threads or the users beside.

A stream is a 64-bit counter stepped by the golden ratio and mixed (splitmix64, Steele et al., OOPSLA 2014).
"""

import math

import numpy as np
from numba import njit

from marm.mix import GOLDEN, MUL_A, MUL_B, mix
from marm.types import I64, U64

_S11 = np.uint64(11)
_UNIT = 2.0**-53


@njit(cache=True, nogil=True)
def uniform(streams: U64, row: int) -> float:
    """The next number of a stream, in [0, 1)."""
    streams[row] += GOLDEN
    return float(mix(streams[row]) >> _S11) * _UNIT


@njit(cache=True, nogil=True)
def normal(streams: U64, row: int) -> float:
    """The next number of a stream, standard normal (Box and Muller; the second of the pair is not used)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(streams, row)))
    return radius * math.cos(2.0 * math.pi * uniform(streams, row))


@njit(cache=True, nogil=True)
def sign(key: np.uint64, first: int, second: int) -> float:
    """A fixed fair coin for a pair: 1.0 or -1.0."""
    x = mix(mix(key + np.uint64(first) * GOLDEN) ^ (np.uint64(second) * MUL_A))
    return 1.0 if x & np.uint64(1) else -1.0


@njit(cache=True, nogil=True)
def streams(seed: int, purpose: int, users: I64) -> U64:
    """One stream for each user, for one purpose."""
    base = mix(mix(np.uint64(seed) + GOLDEN) + np.uint64(purpose) * MUL_B)
    out = np.empty(len(users), np.uint64)
    for row in range(len(users)):
        out[row] = mix(base ^ (np.uint64(users[row]) * GOLDEN))
    return out
