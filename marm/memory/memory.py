"""Memory recalls and remembers: what was made of a past, as rows that attention reads (MARMCacheLookUp, MARMCacheSave)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marm.config import MemoryConfig
from marm.errors import SettingError
from marm.memory.budget import Budget
from marm.memory.facts import facts_dtype
from marm.memory.hot import HotArena, block_rows
from marm.memory.shown import locate_shown
from marm.nn.codec import CODECS, Codec
from marm.store.base import Layout, Rows, Store
from marm.types import I64, U64, Bool


class MemoryFull(Exception):
    """The hot arena has no room until a cut has put its rows into the store."""


@dataclass(frozen=True)
class Recalled:
    """The newest rows of some users before a time, flat, in rising positions."""

    first: I64
    """(B,) position of each user's first row."""
    counts: I64
    """(B,) rows of each user."""
    facts: np.ndarray
    """(R,) facts."""
    block: Tensor
    """(any, K x C) coded states (`marm/nn/codec.py`)."""
    at: I64
    """(R,) row of the block."""
    there: Bool
    """(R,) whether it holds a state."""
    lost: int
    """Rows that a view should have had and the ring no longer holds."""


@dataclass(frozen=True)
class RingShape:
    """Sizes of a run's rings, from its settings."""

    depths: int
    width: int
    codec: str
    item_columns: tuple[str, ...]
    capacity: int
    facts_kept: int

    @property
    def facts(self) -> np.dtype[Any]:
        """The facts' row."""
        return facts_dtype(list(self.item_columns))

    @property
    def coding(self) -> Codec:
        """The codec of that name."""
        return CODECS[self.codec]

    @property
    def state_bytes(self) -> int:
        """Bytes of one event's states."""
        return self.depths * self.coding.bytes(self.width)

    def layout(self, family: str) -> Layout:
        """What a store is opened with; ``family`` names the model and its features."""
        columns = ", ".join(self.item_columns) or "none"
        model = f"{self.depths} depths of width {self.width} in {self.codec}, logged item columns {columns}, {family}"
        return Layout(self.facts.itemsize, self.state_bytes, self.facts_kept, self.capacity, model)


class Memory:
    """Rings of all users: a bounded hot arena in front of a store, written behind at a cut."""

    def __init__(self, store: Store, shape: RingShape, config: MemoryConfig, device: torch.device) -> None:
        self.store, self.shape = store, shape
        slot_bytes = shape.capacity * (shape.facts.itemsize + shape.state_bytes)
        slots = max(int(config.hot // slot_bytes), 1)
        self.hot = HotArena(slots, shape.capacity, shape.facts, shape.state_bytes, shape.coding, device)
        self.budget = Budget(config.budget, shape.state_bytes, shape.capacity)
        self.budget.adopt(store.holding())
        self._pending: list[tuple[U64, I64, np.ndarray]] = []
        self._dropped: dict[int, tuple[int, int]] = {}

    def admit(self, users: U64, step: int) -> None:
        """Bring users (each once) into the hot arena; raises ``MemoryFull`` where only a cut can make room."""
        at = self.hot.map.find(users)
        self.hot.used[at[at >= 0]] = step
        missing = users[at < 0]
        if not len(missing):
            return
        self._make_room(len(missing), step)
        self._load(missing, self.hot.admit(missing, step))

    def _make_room(self, wanted: int, step: int) -> None:
        hot = self.hot
        short = len(hot) + wanted - hot.slots
        if short <= 0:
            return
        held = hot.held()
        idle = held[hot.used[held] < step]
        if len(idle) < short:
            raise SettingError(
                f"memory.hot holds {hot.slots} users, one step needs {len(held) - len(idle) + wanted}: raise memory.hot or "
                "lower train.micro_batch"
            )
        clean = idle[hot.saved[idle] == hot.head[idle]]
        if len(clean) < short:
            raise MemoryFull
        oldest = np.argsort(hot.used[clean], kind="stable")[: max(short, hot.slots // 16)]
        hot.release(clean[oldest])

    def _load(self, users: U64, at: I64) -> None:
        """Fill new slots from the store."""
        found = self.store.read_facts(users, self.shape.capacity)
        known = found.next > 0
        if not known.any():
            return
        states, there = self.store.read_states(users, found.first, found.counts)
        # A writer may have let the oldest states go since the facts were read.
        gone = np.bincount(np.repeat(np.arange(len(users)), found.counts)[~there], minlength=len(users))
        states_from = np.where(gone > 0, np.maximum(found.states_from, found.first + gone), found.states_from)
        coded = self.shape.coding.block(states)
        facts = found.facts.view(self.shape.facts).reshape(-1)
        self.hot.write(at, found.first, found.counts, facts, coded)
        self.hot.head[at] = self.hot.saved[at] = found.next
        self.hot.states_from[at] = states_from
        for user in set(users[known].tolist()) & self._dropped.keys():
            slot = at[users == user]
            self.hot.states_from[slot] = np.maximum(self.hot.states_from[slot], self._dropped[user][0])

    def recall(self, users: U64, before: I64, count: int) -> Recalled:
        """The newest ``count`` rows of admitted users, each strictly before its time."""
        at = self.hot.map.find(users)
        return self._read(at, *self.hot.locate(at, before, count))

    def recall_shown(self, users: U64, before: I64, count: int) -> Recalled:
        """The newest ``count`` rows that are known by a time, and all after them that lie before it, known or not."""
        at, hot = self.hot.map.find(users), self.hot
        facts = hot.facts
        found = locate_shown(facts["time"], facts["known"], at, hot.head, before, count, self.shape.capacity)
        return self._read(at, *found)

    def _read(self, at: I64, first: I64, counts: I64, lost: I64) -> Recalled:
        rows, there = block_rows(at, first, counts, self.hot.states_from, self.shape.capacity)
        facts = self.hot.facts.reshape(-1)[rows]
        return Recalled(first, counts, facts, self.hot.states, rows, there, int(lost.sum()))

    def remember(self, users: U64, counts: I64, facts: np.ndarray, states: Tensor, seen: I64) -> None:
        """Append each admitted user's rows: ``facts`` (R,) and ``states`` (R, K, D), once for each exposure."""
        at = self.hot.map.find(users)
        first = self.hot.head[at]
        self.hot.write(at, first, counts, facts, self.shape.coding.encode(states).flatten(1))
        self.hot.seen[at] = seen
        flat = np.repeat(np.arange(len(users)), counts)
        begin = np.cumsum(counts) - counts
        self._pending.append((users[flat], first[flat] + np.arange(len(flat)) - begin[flat], facts))
        self.budget.note(users, first + counts, seen)
        self._drop(*self.budget.drop())

    def _drop(self, users: U64, states_from: I64, seen: I64) -> None:
        at = self.hot.map.find(users)
        here = at >= 0
        self.hot.states_from[at[here]] = states_from[here]
        self._dropped |= dict(zip(users.tolist(), zip(states_from.tolist(), seen.tolist(), strict=True), strict=True))

    def delta(self) -> Rows:
        """What the store does not have yet, users in rising order."""
        empty = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, self.shape.facts))
        owner, position, facts = (np.concatenate(c) for c in zip(empty, *self._pending, strict=True))
        order = np.lexsort((position, owner))
        owner, position, facts = owner[order], position[order], facts[order]
        grown, begin, counts = np.unique(owner, return_index=True, return_counts=True)
        states = self._states(grown, position[begin], counts)
        users = np.union1d(grown, np.fromiter(self._dropped, np.uint64))
        columns = {name: np.zeros(len(users), np.int64) for name in ("first", "counts", "states_from", "seen")}
        rows = Rows(users=users, facts=_bytes(facts), states=states, **columns)
        for user, (states_from, seen) in self._dropped.items():
            place = int(np.searchsorted(users, np.uint64(user)))
            rows.first[place], rows.states_from[place], rows.seen[place] = states_from, states_from, seen
        at, i = self.hot.map.find(grown), np.searchsorted(users, grown)
        rows.first[i], rows.counts[i] = position[begin], counts
        rows.states_from[i], rows.seen[i] = self.hot.states_from[at], self.hot.seen[at]
        return rows

    def _states(self, users: U64, first: I64, counts: I64) -> np.ndarray:
        """Bytes of the states at these positions; of those that left the ring already, zeros that nobody will read."""
        at = self.hot.map.find(users)
        rows, _ = block_rows(at, first, counts, self.hot.states_from, self.shape.capacity)
        owner = np.repeat(np.arange(len(users)), counts)
        begin = np.cumsum(counts) - counts
        gone = first[owner] + np.arange(len(rows)) - begin[owner] < self.hot.head[at][owner] - self.shape.capacity
        states = self.hot.states[torch.from_numpy(rows).to(self.hot.device)].cpu().numpy()
        states[gone] = 0
        return _bytes(states)

    def saved(self) -> None:
        """The delta is in the store: its users may leave the arena."""
        held = self.hot.held()
        self.hot.saved[held] = self.hot.head[held]
        self._pending.clear()
        self._dropped.clear()

    def forget(self) -> None:
        """Forget everything here; the next cut must clear the store before it appends."""
        self.hot.release(self.hot.held())
        dropped = self.budget.dropped_users
        self.budget = Budget(self.budget.most_bytes, self.shape.state_bytes, self.shape.capacity)
        self.budget.dropped_users = dropped
        self._pending.clear()
        self._dropped.clear()


def _bytes(rows: np.ndarray) -> np.ndarray:
    """Rows as bytes: (R, width)."""
    width = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))
    if not width or not len(rows):
        return np.zeros((len(rows), width), np.uint8)
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), width)
