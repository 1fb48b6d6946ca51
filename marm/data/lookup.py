"""Rows of ids by hashing: open addressing over ids that are hashes already."""

import numpy as np
from numba import njit

from marm.types import I64, U64


class Lookup:
    """Finds the row of each id; ids are distinct and not 0."""

    def __init__(self, ids: U64) -> None:
        bits = max(4, int(np.ceil(np.log2(max(len(ids), 1) * 2))))
        self._keys, self._rows = _fill(np.ascontiguousarray(ids), bits)
        self._shift = np.uint64(64 - bits)

    def find(self, ids: U64) -> I64:
        """Row of each id (n,); -1 where there is none."""
        return _find(self._keys, self._rows, self._shift, ids)


@njit(cache=True, nogil=True)
def _fill(ids: U64, bits: int) -> tuple[U64, I64]:
    size = 1 << bits
    keys = np.zeros(size, np.uint64)
    rows = np.full(size, -1, np.int64)
    shift = np.uint64(64 - bits)
    for row in range(len(ids)):
        at = np.int64(ids[row] >> shift)
        while keys[at] != 0:
            at = (at + 1) & (size - 1)
        keys[at] = ids[row]
        rows[at] = row
    return keys, rows


@njit(cache=True, nogil=True)
def _find(keys: U64, rows: I64, shift: np.uint64, ids: U64) -> I64:
    out = np.empty(len(ids), np.int64)
    mask = len(keys) - 1
    for i in range(len(ids)):
        at = np.int64(ids[i] >> shift)
        while keys[at] != 0 and keys[at] != ids[i]:
            at = (at + 1) & mask
        out[i] = rows[at] if keys[at] != 0 else -1
    return out
