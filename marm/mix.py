"""A number that looks unrelated to another: what ids, draws, probes and checksums hash by (splitmix64, Steele et al. 2014)."""

import numba as nb
import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Steps of a counter by this odd number reach all of 2^64 before any comes again."""

MUL_A, MUL_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@nb.njit(cache=True, nogil=True, inline="always")
def mix(x: np.uint64) -> np.uint64:
    """A bijection of 64 bits: every bit of the input moves half of the output's."""
    x = (x ^ (x >> np.uint64(30))) * MUL_A
    x = (x ^ (x >> np.uint64(27))) * MUL_B
    return x ^ (x >> np.uint64(31))
