"""A hash table from 64-bit keys to small dense slots, for arrays that hold one ring for each user."""

import numpy as np
from numba import njit

from marm.mix import GOLDEN
from marm.types import I64, U64

_FOLD = np.uint64(32)
_LEAST_BITS = 4


class SlotMap:
    """Gives each key a slot: the slot freed last if there is one, else the lowest never given.

    The same calls give the same slots on any machine. All calls take batches; a key may stand twice in one.
    """

    def __init__(self, hint: int = 0) -> None:
        self._table = _empty(_bits_for(hint))
        self._free = np.zeros(0, np.int64)
        self._tally = np.zeros(3, np.int64)  # keys held, slots ever given, slots free

    def __len__(self) -> int:
        return int(self._tally[0])

    @property
    def top(self) -> int:
        """One more than the highest slot ever given: what an array indexed by slot must hold."""
        return int(self._tally[1])

    def find(self, keys: U64) -> I64:
        """Slot of each key; -1 where it has none."""
        out = np.empty(len(keys), np.int64)
        _find(self._table, keys, out)
        return out

    def insert(self, keys: U64) -> I64:
        """Slot of each key, given now where it had none."""
        need = _bits_for(len(self) + len(keys))
        if 1 << need > len(self._table):
            grown = _empty(need)
            _rehash(self._table, grown)
            self._table = grown
        out = np.empty(len(keys), np.int64)
        _insert(self._table, keys, self._free, self._tally, out)
        return out

    def remove(self, keys: U64) -> I64:
        """Forget keys and free their slots: the slot of each, -1 where it had none."""
        need = int(self._tally[2]) + len(keys)
        if need > len(self._free):
            grown = np.zeros(max(need, 2 * len(self._free)), np.int64)
            grown[: len(self._free)] = self._free
            self._free = grown
        out = np.empty(len(keys), np.int64)
        _remove(self._table, keys, self._free, self._tally, out)
        return out

    def entries(self) -> tuple[U64, I64]:
        """All keys and their slots, in rising slots."""
        full = self._table[self._table[:, 1] > 0]
        full = full[np.argsort(full[:, 1])]
        return np.ascontiguousarray(full[:, 0]).view(np.uint64), full[:, 1] - 1

    def clear(self) -> None:
        """Forget all keys; slots are given from 0 again."""
        self._table[:] = 0
        self._tally[:] = 0


def _bits_for(keys: int) -> int:
    """Table size (log2) that keeps at least every second place empty, so that probes stay short."""
    return max(_LEAST_BITS, int(2 * keys - 1).bit_length() if keys else 0)


def _empty(bits: int) -> I64:
    """(2 ** bits, 2): key, and slot + 1 beside it in the same cache line; 0 is an empty place."""
    return np.zeros((1 << bits, 2), np.int64)


@njit(cache=True, nogil=True)
def _home(key: np.int64, mask: int) -> np.int64:
    mixed = np.uint64(key)
    mixed = (mixed ^ (mixed >> _FOLD)) * GOLDEN
    return np.int64((mixed ^ (mixed >> _FOLD)) & np.uint64(mask))


@njit(cache=True, nogil=True)
def _place(table: I64, key: np.int64) -> np.int64:
    """Where the key is, or the empty place where it would go."""
    mask = len(table) - 1
    at = _home(key, mask)
    while table[at, 1] != 0 and table[at, 0] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True)
def _find(table: I64, keys: U64, out: I64) -> None:
    for i in range(len(keys)):
        out[i] = table[_place(table, np.int64(keys[i])), 1] - 1


@njit(cache=True, nogil=True)
def _insert(table: I64, keys: U64, free: I64, tally: I64, out: I64) -> None:
    for i in range(len(keys)):
        key = np.int64(keys[i])
        at = _place(table, key)
        if table[at, 1] == 0:
            if tally[2] > 0:
                tally[2] -= 1
                slot = free[tally[2]]
            else:
                slot = tally[1]
                tally[1] += 1
            table[at, 0] = key
            table[at, 1] = slot + 1
            tally[0] += 1
        out[i] = table[at, 1] - 1


@njit(cache=True, nogil=True)
def _remove(table: I64, keys: U64, free: I64, tally: I64, out: I64) -> None:
    for i in range(len(keys)):
        at = _place(table, np.int64(keys[i]))
        out[i] = table[at, 1] - 1
        if out[i] >= 0:
            free[tally[2]] = out[i]
            tally[2] += 1
            tally[0] -= 1
            _close_gap(table, at)


@njit(cache=True, nogil=True)
def _close_gap(table: I64, gap: np.int64) -> None:
    """Empty a place and move later keys of its run up, so that no search stops short (no tombstones)."""
    mask = len(table) - 1
    at = gap
    while True:
        at = (at + 1) & mask
        if table[at, 1] == 0:
            break
        home = _home(table[at, 0], mask)
        if ((at - home) & mask) >= ((at - gap) & mask):
            table[gap, 0] = table[at, 0]
            table[gap, 1] = table[at, 1]
            gap = at
    table[gap, 0] = 0
    table[gap, 1] = 0


@njit(cache=True, nogil=True)
def _rehash(old: I64, new: I64) -> None:
    for i in range(len(old)):
        if old[i, 1] != 0:
            at = _place(new, old[i, 0])
            new[at, 0] = old[i, 0]
            new[at, 1] = old[i, 1]
