"""The hot arena: the rings of the users at work, in one preallocated block in front of a store.

    slot s, position p     facts[s, p % capacity]     states[s * capacity + p % capacity]
    head[s]                next position                      states_from[s]   rows below it have no state
    saved[s]               rows below it are in the store     used[s]          last step that touched it
    renewed[s]             whether some of those were made anew since
    keys[w, s, p % capacity]   what a search knows rows by, once more: so it reads these alone

The states lie on the model's device, coded; everything else on the host. Bookkeeping knows no tensor but that block.
"""

import math
import mmap
from typing import Any

import numba as nb
import numpy as np
import torch

from marm.nn.codec import Codec
from marm.store.slots import SlotMap
from marm.types import I64, U64, Bool


class HotArena:
    """Rings of at most ``slots`` users; a user that is not here is loaded first (see ``memory.py``)."""

    def __init__(
        self, slots: int, capacity: int, facts: np.dtype[Any], state_bytes: int, codec: Codec, device: torch.device
    ):
        """``state_bytes`` of one row's states, all depths of it."""
        self.capacity, self.slots, self.device = capacity, slots, device
        self.map = SlotMap(slots)
        self.facts = untouched((slots, capacity), facts)
        keys = self.facts["keys"].shape[2] if "keys" in (facts.names or ()) else 0
        self.keys = untouched((keys, slots, capacity), np.dtype(np.uint64))
        self.states = codec.block(untouched((slots * capacity, state_bytes), np.dtype(np.uint8))).to(device)
        self.head, self.states_from, self.saved, self.used, self.seen = (np.zeros(slots, np.int64) for _ in range(5))
        self.renewed = np.zeros(slots, bool)
        self.users = np.zeros(slots, np.uint64)

    def __len__(self) -> int:
        return len(self.map)

    def admit(self, users: U64, step: int) -> I64:
        """Give new users empty rings; there must be room for them. Returns their slots."""
        at = self.map.insert(users)
        self.users[at], self.used[at] = users, step
        self.head[at] = self.states_from[at] = self.saved[at] = 0
        self.renewed[at] = False
        return at

    def release(self, at: I64) -> None:
        """Forget the users at these slots; what they hold must be in the store."""
        self.map.remove(self.users[at])

    def held(self) -> I64:
        """Slots in use, ascending."""
        return self.map.entries()[1]

    def in_store(self, at: I64) -> Bool:
        """Whether the store has all that these slots hold."""
        same: Bool = (self.saved[at] == self.head[at]) & ~self.renewed[at]
        return same

    def stored(self) -> None:
        """The store has all that is held."""
        held = self.held()
        self.saved[held], self.renewed[held] = self.head[held], False

    def write(self, at: I64, first: I64, counts: I64, facts: np.ndarray, states: torch.Tensor) -> None:
        """Put rows at consecutive positions; of more rows than fit, the newest stay."""
        rows, source = ring_rows(at, first, counts, self.capacity)
        self.facts.reshape(-1)[rows] = facts[source]
        for w, column in enumerate(self.keys):
            column.reshape(-1)[rows] = facts["keys"][source, w]
        if states.shape[1]:
            where = torch.from_numpy(rows).to(self.device)
            self.states[where] = states[torch.from_numpy(source).to(states.device)].to(self.device)
        self.head[at] = first + counts

    def locate(self, at: I64, before: I64, count: int) -> tuple[I64, I64, I64]:
        """The newest ``count`` rows strictly before a time, by binary search: first position, rows, rows lost to the ring."""
        return _locate(self.facts["time"], at, self.head, before, count, self.capacity)


def untouched(shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
    """Zeros in pages of their own, given by the system when first written and taken back with the array.

    From an allocator that keeps what was freed, as commands have it, they would be written over at once, all of them.
    """
    size = math.prod(shape) * kind.itemsize
    if not size:
        return np.zeros(shape, kind)
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, kind).reshape(shape)


@nb.njit(cache=True, nogil=True)
def _locate(time: Any, at: I64, head: I64, before: I64, count: int, capacity: int) -> tuple[I64, I64, I64]:
    first, counts, lost = np.empty_like(at), np.empty_like(at), np.empty_like(at)
    for b in range(len(at)):
        slot = at[b]
        oldest = max(0, head[slot] - capacity)
        low, high = oldest, head[slot]
        while low < high:
            middle = (low + high) // 2
            if time[slot, middle % capacity] < before[b]:
                low = middle + 1
            else:
                high = middle
        first[b] = max(oldest, low - count)
        counts[b] = low - first[b]
        lost[b] = first[b] - max(0, low - count)
    return first, counts, lost


@nb.njit(cache=True, nogil=True)
def ring_rows(at: I64, first: I64, counts: I64, capacity: int) -> tuple[I64, I64]:
    """Row of the block and row of a flat column for each position that stays in the ring."""
    total = 0
    for b in range(len(at)):
        total += min(counts[b], capacity)
    rows, source = np.empty(total, np.int64), np.empty(total, np.int64)
    i, begin = 0, 0
    for b in range(len(at)):
        for j in range(max(0, counts[b] - capacity), counts[b]):
            rows[i] = at[b] * capacity + (first[b] + j) % capacity
            source[i] = begin + j
            i += 1
        begin += counts[b]
    return rows, source


@nb.njit(cache=True, nogil=True)
def block_rows(at: I64, first: I64, counts: I64, states_from: I64, capacity: int) -> tuple[I64, Bool]:
    """Row of the block for each position of the users, flat, and whether it holds a state."""
    total = 0
    for b in range(len(at)):
        total += counts[b]
    rows, there = np.empty(total, np.int64), np.empty(total, np.bool_)
    i = 0
    for b in range(len(at)):
        for p in range(first[b], first[b] + counts[b]):
            rows[i] = at[b] * capacity + p % capacity
            there[i] = p >= states_from[at[b]]
            i += 1
    return rows, there
