"""All items of the stream so far: their newest event, and an estimate of how often each is received."""

import numba as nb
import numpy as np
from torch import Tensor

from marm.nn.saving import hashes, signed
from marm.stages.room import room
from marm.store.slots import SlotMap
from marm.types import F32, F64, I64, U64


class Items:
    """Items by place, in order of first appearance; grows with the catalogue and with nothing else."""

    def __init__(self, rate: float) -> None:
        """``rate``: how fast frequencies follow."""
        self._rate, self._map = rate, SlotMap()
        self._ids: U64 = np.zeros(0, np.uint64)
        self._event, self._last, self._times = (np.zeros(0, np.int64) for _ in range(3))
        self._gap: F64 = np.zeros(0)
        self.received = 0
        """Positive events so far: the clock of frequencies."""
        self.newest = 0
        """Stream number of the newest event."""

    @property
    def ids(self) -> U64:
        """Of each item (N,)."""
        return self._ids[: len(self)]

    @property
    def event(self) -> I64:
        """Stream number of the newest event of each item (N,)."""
        return self._event[: len(self)]

    def __len__(self) -> int:
        return len(self._map)

    def find(self, ids: U64) -> I64:
        """Place of each item; -1 where it was never seen."""
        return self._map.find(ids)

    def see(self, ids: U64, numbers: I64) -> None:
        """Items of events, as they come."""
        before, at = len(self), self._map.insert(ids)
        count = len(self)
        self._ids, self._event, self._gap = (room(a, count) for a in (self._ids, self._event, self._gap))
        self._last, self._times = room(self._last, count, -1), room(self._times, count)
        # Never received so far: its gap is as long as the stream.
        self._gap[before:count] = self.received + 1.0
        self._ids[at], self._event[at] = ids, numbers
        self.newest = max(self.newest, int(numbers.max(initial=0)))

    def receive(self, at: I64) -> None:
        """Items of positive events, by place, in order: the gap between two of an item is one over its frequency.

        Yi et al. 2019, algorithm 2, with a place of its own for each item instead of hashed ones, and with the plain mean of
        an item's first gaps: it begins with the long one before its first event, which a fixed rate would take ages to forget.
        """
        _follow(self._gap, self._last, self._times, at, self.received, self._rate)
        self.received += len(at)

    def log_frequency(self, at: I64) -> F32:
        """Log of the share of positive events that items have, by now (n,); a gap is no shorter than what has passed."""
        gap, last = self._gap[at], self._last[at]
        share = np.maximum(self._rate, 1 / (self._times[at] + 1))
        gap = np.maximum(gap, gap + share * (self.received - last - gap))
        out: F32 = -np.log(np.maximum(gap, 1.0)).astype(np.float32)
        return out

    def state(self) -> dict[str, Tensor]:
        """For the cut."""
        n = len(self)
        arrays = {"ids": self._ids, "event": self._event, "gap": self._gap, "last": self._last, "times": self._times}
        return {name: signed(array[:n]) for name, array in arrays.items()} | {
            "received": signed(np.array(self.received))
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up where ``state`` was taken."""
        self._map.clear()
        self._ids = hashes(state["ids"])
        self._map.insert(self._ids)
        self._event, self._gap, self._last, self._times = (state[n].numpy() for n in ("event", "gap", "last", "times"))
        self.received, self.newest = int(state["received"]), int(self.event.max(initial=0))


class Ring:
    """Users and items (by place) of the newest positive events."""

    def __init__(self, size: int) -> None:
        self._users: U64 = np.zeros(size, np.uint64)
        self._items: I64 = np.zeros(size, np.int64)
        self._next = 0

    def add(self, users: U64, at: I64) -> None:
        """Positive events in order; the oldest leave."""
        size = len(self._users)
        users, at = users[-size:], at[-size:]
        where = (self._next + np.arange(len(at))) % size
        self._users[where], self._items[where] = users, at
        self._next += len(at)

    def draw(self, chance: np.random.Generator, count: int) -> tuple[U64, I64]:
        """Any of them, with repeats: users and items (count,); none as long as the ring is empty."""
        held = min(self._next, len(self._users))
        which = chance.integers(0, held, count if held else 0) if held else np.zeros(0, np.int64)
        return self._users[which], self._items[which]

    def state(self) -> dict[str, Tensor]:
        """For the cut."""
        return {"users": signed(self._users), "items": signed(self._items), "next": signed(np.array(self._next))}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up where ``state`` was taken."""
        self._users, self._items, self._next = hashes(state["users"]), state["items"].numpy(), int(state["next"])


@nb.njit(cache=True, nogil=True)
def _follow(gap: F64, last: I64, times: I64, at: I64, received: int, rate: float) -> None:
    for i in range(len(at)):
        item, now = at[i], received + i
        times[item] += 1
        share = max(rate, 1.0 / times[item])
        gap[item] += share * (now - last[item] - gap[item])
        last[item] = now
