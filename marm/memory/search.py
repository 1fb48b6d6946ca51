"""Searches of the hot arena: of the rows of a range of positions, those that a rule likes most, newest first among equals.

Query k's range is ``[low[k], high[k])`` of the ring at ``slot[k]``; what is found stands in rising positions. No row is copied:
a rule reads its own column of the arena, front to back.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from marm.nn.machine import apart, ones
from marm.types import F32, I64, U64

_LANES = 4
"""Counts kept side by side, since sums into one place wait for each other."""

_BITS = 12
"""First bits of a score, by which most are told from the highest."""


class Ranges(NamedTuple):
    """Where each query searches (Q,)."""

    slot: I64
    low: I64
    high: I64


class Found(NamedTuple):
    """What was found, flat, query by query."""

    at: I64
    """(Q + 1,) first of each query."""
    position: I64
    """(P,)."""


def nearest(keys: U64, wanted: U64, ranges: Ranges, most: int) -> Found:
    """The ``most`` rows whose signatures ``keys`` (W, slots, capacity) differ in the fewest bits from ``wanted`` (Q, W)."""
    return Found(*_nearest(keys, wanted, *ranges, most))


def same(keys: U64, wanted: U64, ranges: Ranges, most: int) -> Found:
    """The newest ``most`` rows whose key (1, slots, capacity) is the ``wanted`` one (Q, 1); none for 0, which is no key."""
    return Found(*_same(keys[0], wanted[:, 0], *ranges, most))


def largest(score: F32, first: I64, ranges: Ranges, most: int) -> Found:
    """The ``most`` rows of the highest ``score``: query k's lie from ``first[k]`` on; minus infinity is never found."""
    return Found(*_largest(score, first, *ranges, most))


@nb.njit(cache=True, nogil=True)
def _nearest(keys, wanted, slot, low, high, most):  # type: ignore[no-untyped-def]
    words, _, capacity = keys.shape
    longest = max(1, (high - low).max()) if len(low) else 1
    far, counts = np.empty(longest, np.uint8), np.empty((_LANES, 64 * words + 1), np.int64)
    out, at = np.empty(len(slot) * most, np.int64), np.zeros(len(slot) + 1, np.int64)
    for k in range(len(slot)):
        rows = high[k] - low[k]
        if rows > 0:
            start = low[k] % capacity
            before = min(rows, capacity - start)
            far[:rows] = 0
            for w in range(words):
                _add_far(keys[w, slot[k], start : start + before], wanted[k, w], far[:before])
                _add_far(keys[w, slot[k], : rows - before], wanted[k, w], far[before:rows])
            limit, room = _limit(far[:rows], counts, most)
            at[k + 1] = _take_near(far[:rows], limit, room, low[k], out[at[k] :])
        at[k + 1] += at[k]
    return at, out[: at[-1]].copy()


@nb.njit(cache=True, nogil=True)
def _add_far(keys, wanted, far):  # type: ignore[no-untyped-def]
    apart()
    for i in range(len(keys)):
        far[i] += np.uint8(ones(keys[i] ^ wanted))


@nb.njit(cache=True, nogil=True)
def _limit(far, counts, most):  # type: ignore[no-untyped-def]
    """The distance below which every row is taken, and how many more of that distance."""
    counts[:] = 0
    whole = len(far) // _LANES * _LANES
    for i in range(0, whole, _LANES):
        for lane in range(_LANES):
            counts[lane, far[i + lane]] += 1
    for i in range(whole, len(far)):
        counts[0, far[i]] += 1
    room = most
    for distance in range(counts.shape[1]):
        here = counts[:, distance].sum()
        if here > room:
            return distance, room
        room -= here
    return counts.shape[1], 0


@nb.njit(cache=True, nogil=True)
def _take_near(far, limit, room, low, out):  # type: ignore[no-untyped-def]
    """Write the positions of the rows to take, rising; of those at the limit the newest. Returns how many."""
    taken = 0
    for i in range(len(far) - 1, -1, -1):
        if far[i] <= limit and (far[i] < limit or room > 0):
            room -= far[i] == limit
            out[taken] = low + i
            taken += 1
    out[:taken] = out[:taken][::-1].copy()
    return taken


@nb.njit(cache=True, nogil=True)
def _same(keys, wanted, slot, low, high, most):  # type: ignore[no-untyped-def]
    capacity = keys.shape[1]
    out, at = np.empty(len(slot) * most, np.int64), np.zeros(len(slot) + 1, np.int64)
    for k in range(len(slot)):
        end, position = at[k], high[k] - 1
        while wanted[k] != 0 and position >= low[k] and end < at[k] + most:
            if keys[slot[k], position % capacity] == wanted[k]:
                out[end] = position
                end += 1
            position -= 1
        out[at[k] : end] = out[at[k] : end][::-1].copy()
        at[k + 1] = end
    return at, out[: at[-1]].copy()


@nb.njit(cache=True, nogil=True)
def _largest(score, first, slot, low, high, most):  # type: ignore[no-untyped-def]
    out, at = np.empty(len(slot) * most, np.int64), np.zeros(len(slot) + 1, np.int64)
    counts = np.empty(1 << _BITS, np.int64)
    for k in range(len(slot)):
        rows = max(0, high[k] - low[k])
        mine = score[first[k] : first[k] + rows]
        limit, room = np.float32(-np.inf), most
        if rows > most:
            limit = _highest(mine, most, counts)
            for i in range(rows):
                room -= mine[i] > limit
        end = at[k]
        for i in range(rows - 1, -1, -1):
            if mine[i] > limit or (mine[i] == limit and room > 0 and limit > -np.inf):
                room -= mine[i] == limit
                out[end] = low[k] + i
                end += 1
        out[at[k] : end] = out[at[k] : end][::-1].copy()
        at[k + 1] = end
    return at, out[: at[-1]].copy()


@nb.njit(cache=True, nogil=True)
def _highest(score, place, counts):  # type: ignore[no-untyped-def]
    """The ``place``-th highest score: sorted out by first bits, and only among those that share them exactly."""
    bits, room, group = score.view(np.int32), place, len(counts) - 1
    counts[:] = 0
    for i in range(len(bits)):
        counts[_first_bits(bits[i])] += 1
    while counts[group] < room:
        room -= counts[group]
        group -= 1
    alike, found = np.empty(counts[group], np.float32), 0
    for i in range(len(bits)):
        if _first_bits(bits[i]) == group:
            alike[found] = score[i]
            found += 1
    return np.partition(alike, found - room)[found - room]


@nb.njit(cache=True, nogil=True, inline="always")
def _first_bits(bits):  # type: ignore[no-untyped-def]
    """Of a float32 given by its bits, as a number that rises with it."""
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> (32 - _BITS)) + (1 << (_BITS - 1))
