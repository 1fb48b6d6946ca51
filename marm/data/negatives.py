"""Drawn negatives: for each event, items of earlier events among the last R of the log.

What is drawn for an event depends on the seed, the event's number and the items before it, never on the batch it is in.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from marm.mix import GOLDEN, mix
from marm.types import I64, U64, Bool

TRIES = 32


def draw(
    numbers: I64,
    tie_start: I64,
    tie_end: I64,
    per_event: int,
    recent: int,
    seed: int,
    item_hashes: Callable[[I64], U64],
) -> I64:
    """Events whose items are the negatives of events ``numbers`` (n, per_event); -1 where none was found.

    They are drawn from events ``[max(0, k - recent), tie_start)`` of the stream, never an item of the event's own tie
    group ``[tie_start, tie_end)``, and an item twice only where 32 tries gave no other. ``item_hashes`` gives the
    hashed items of events.
    """
    drawn = np.full((len(numbers), per_event), -1, np.int64)
    items = np.zeros((len(numbers), per_event), np.uint64)
    settled = np.zeros((len(numbers), per_event), np.bool_)
    own_offsets = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(tie_end - tie_start, out=own_offsets[1:])
    own = item_hashes(_ranges(tie_start, own_offsets))
    for turn in range(TRIES):
        open_slots = np.argwhere(~settled)
        if not len(open_slots):
            break
        events, slots = open_slots[:, 0], open_slots[:, 1]
        picks = _pick(numbers[events], slots, tie_start[events], recent, np.uint64(seed & (2**64 - 1)), turn)
        here = picks >= 0
        if not here.any():
            break
        found = item_hashes(picks[here])
        _settle(events[here], slots[here], picks[here], found, own, own_offsets, drawn, items, settled)
    return drawn


@njit(cache=True, nogil=True)
def _ranges(starts: I64, offsets: I64) -> I64:
    out = np.empty(offsets[-1], np.int64)
    for i in range(len(starts)):
        for at in range(offsets[i], offsets[i + 1]):
            out[at] = starts[i] + at - offsets[i]
    return out


@njit(cache=True, nogil=True)
def _pick(numbers: I64, slots: I64, ends: I64, recent: int, seed: np.uint64, turn: int) -> I64:
    """A uniform event for each open slot; -1 where there is no earlier one."""
    out = np.full(len(numbers), -1, np.int64)
    for i in range(len(numbers)):
        begin = max(0, numbers[i] - recent)
        if begin < ends[i]:
            word = mix(seed + GOLDEN)
            word = mix(word ^ np.uint64(numbers[i]))
            word = mix((word + GOLDEN) ^ ((np.uint64(slots[i]) << np.uint64(8)) | np.uint64(turn)))
            out[i] = begin + np.int64(word % np.uint64(ends[i] - begin))
    return out


@njit(cache=True, nogil=True)
def _settle(
    events: I64, slots: I64, picks: I64, found: U64, own: U64, own_offsets: I64, drawn: I64, items: U64, settled: Bool
) -> None:
    """Take picks in order of event and slot: one that is the event's own is dropped, a repeat only keeps the place."""
    for i in range(len(events)):
        event, slot = events[i], slots[i]
        allowed = True
        for at in range(own_offsets[event], own_offsets[event + 1]):
            allowed &= own[at] != found[i]
        if not allowed:
            continue
        fresh = True
        for other in range(drawn.shape[1]):
            fresh &= not (settled[event, other] and items[event, other] == found[i])
        if fresh or drawn[event, slot] < 0:
            drawn[event, slot] = picks[i]
            items[event, slot] = found[i]
        settled[event, slot] = fresh
