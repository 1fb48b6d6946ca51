"""Memory recalls and remembers: what was made of a past, as rows that attention reads (MARMCacheLookUp, MARMCacheSave)."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marm.config import MemoryConfig
from marm.errors import SettingError
from marm.memory.ages import Ages, newest
from marm.memory.budget import Budget
from marm.memory.facts import facts_dtype
from marm.memory.hot import HotArena, block_rows
from marm.memory.shown import locate_shown
from marm.nn.codec import CODECS, Codec
from marm.ranks import ALONE, Group, own
from marm.store.base import Holding, Layout, Rows, Store
from marm.store.rings import places_from, starts
from marm.store.slots import SlotMap
from marm.store.whole import read_whole
from marm.types import I64, U64, Bool

_log = logging.getLogger("marm.memory")


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
    searched: int = 0
    """Rows of the capacity that only a search reads."""
    keys: int = 0
    """Numbers that a search knows a row by."""

    @property
    def facts(self) -> np.dtype[Any]:
        """The facts' row."""
        return facts_dtype(list(self.item_columns), self.keys)

    @property
    def coding(self) -> Codec:
        """The codec of that name."""
        return CODECS[self.codec]

    @property
    def state_bytes(self) -> int:
        """Bytes of one event's states."""
        return self.depths * self.coding.bytes(self.width)

    @property
    def ring_bytes(self) -> int:
        """Bytes of a user's ring in the hot arena."""
        return self.capacity * (self.facts.itemsize + self.state_bytes + 8 * self.keys)

    def layout(self, family: str) -> Layout:
        """What a store is opened with; ``family`` names the model and its features."""
        columns = ", ".join(self.item_columns) or "none"
        model = f"{self.depths} depths of width {self.width} in {self.codec}, logged item columns {columns}, {family}"
        return Layout(self.facts.itemsize, self.state_bytes, self.facts_kept, self.capacity, model)


class Memory:
    """Rings of all users: a bounded hot arena in front of a store, written behind at a cut."""

    def __init__(
        self, store: Store, shape: RingShape, config: MemoryConfig, device: torch.device, group: Group = ALONE
    ) -> None:
        """``group``: processes among which users are dealt out, with an equal share of the budget each."""
        self.store, self.shape, self.group = store, shape, group
        slots = max(int(config.hot // shape.ring_bytes), 1)
        self.hot = HotArena(slots, shape.capacity, shape.facts, shape.state_bytes, shape.coding, device)
        self.budget = Budget(config.budget // group.size, shape.state_bytes, shape.capacity)
        self.adopt()
        self._pending: list[tuple[U64, I64, np.ndarray]] = []
        self._dropped: dict[int, tuple[int, int]] = {}
        self._forgotten: set[int] = set()
        self.ages = Ages.of(config)
        self.damaged_users = 0
        """Users forgotten because their bytes were wrong."""

    def adopt(self) -> None:
        """Take over what the store holds of this process's users."""
        held = self.store.holding()
        mine = own(self.group, held.users)
        self.budget.adopt(Holding(held.users[mine], held.next[mine], held.states_from[mine], held.seen[mine]))

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
        clean = idle[hot.in_store(idle)]
        if len(clean) < short:
            raise MemoryFull
        oldest = np.argsort(hot.used[clean], kind="stable")[: max(short, hot.slots // 16)]
        hot.release(clean[oldest])

    def _load(self, users: U64, at: I64) -> None:
        """Fill new slots from the store."""
        about = self.shape.capacity, self.shape.state_bytes
        found, states, there = read_whole(self.store, users, *about, self.budget.ends(users))
        self._note_damage()
        known = found.next > 0
        self.budget.forget(users[~known])  # nobody is there of whom it was more than the store has now
        if not known.any():
            return
        # A writer may have let the oldest states go since the facts were read.
        gone = np.bincount(np.repeat(np.arange(len(users)), found.counts)[~there], minlength=len(users))
        states_from = np.where(gone > 0, np.maximum(found.states_from, found.first + gone), found.states_from)
        coded = self.shape.coding.block(states)
        facts = found.facts.view(self.shape.facts).reshape(-1)
        self.hot.write(at, found.first, found.counts, facts, coded)
        self.hot.head[at] = self.hot.saved[at] = found.next
        self.hot.seen[at] = self.budget.seen(users)
        self.hot.states_from[at] = states_from
        for user in set(users[known].tolist()) & self._dropped.keys():
            slot = at[users == user]
            self.hot.states_from[slot] = np.maximum(self.hot.states_from[slot], self._dropped[user][0])

    def _note_damage(self) -> None:
        """Users whose bytes the store found wrong begin anew; each is named once, in one line of the log."""
        found = np.fromiter(self.store.damaged - self._forgotten, np.uint64)
        new = set(found[own(self.group, found)].tolist())
        if not new:
            return
        self._forgotten |= new
        for user in new & self._dropped.keys():
            del self._dropped[user]
        self.damaged_users += len(new)
        self.budget.forget(np.fromiter(new, np.uint64))
        names = ", ".join(f"{user:016x}" for user in sorted(new))
        _log.warning("memory: rows of %d users are damaged and forgotten (hashes %s)", len(new), names)

    def recall(
        self, users: U64, before: I64, count: int, now: I64 | None = None, version: int | None = None
    ) -> Recalled:
        """The newest ``count`` rows of admitted users, each strictly before its time.

        ``now`` (B,): when their rows are read, and ``version``: by which weights, for states too old to be read.
        """
        at = self.hot.map.find(users)
        return self._recalled(at, self.hot.locate(at, before, count), now, version)

    def recall_shown(
        self, users: U64, before: I64, count: int, now: I64 | None = None, version: int | None = None
    ) -> Recalled:
        """The newest ``count`` rows that are known by a time, and all after them that lie before it, known or not."""
        at, hot = self.hot.map.find(users), self.hot
        facts = hot.facts
        found = locate_shown(facts["time"], facts["known"], at, hot.head, before, count, self.shape.capacity)
        return self._recalled(at, found, now, version)

    def _recalled(self, at: I64, found: tuple[I64, I64, I64], now: I64 | None, version: int | None) -> Recalled:
        first, counts, lost = found
        rows, there = block_rows(at, first, counts, self.hot.states_from, self.shape.capacity)
        facts = self.hot.facts.reshape(-1)[rows]
        if self.ages.limited and now is not None and version is not None:
            last = newest(facts, counts)
            there &= self.ages.young(facts, np.repeat(now, counts), np.repeat(last, counts), version)
        return Recalled(first, counts, facts, self.hot.states, rows, there, int(lost.sum()))

    def remember(self, users: U64, counts: I64, facts: np.ndarray, states: Tensor, seen: I64) -> None:
        """Append each admitted user's rows: ``facts`` (R,) and ``states`` (R, K, D), once for each exposure."""
        at = self.hot.map.find(users)
        first = self.hot.head[at]
        self._expire(users, at, facts["time"][starts(counts)])
        self.hot.write(at, first, counts, facts, self.shape.coding.encode(states).flatten(1))
        self.hot.seen[at] = seen
        self._pending.append((np.repeat(users, counts), places_from(first, counts), facts))
        self.budget.note(users, first + counts, seen)
        self._drop(*self.budget.drop())

    def past(self, users: U64, counts: I64) -> tuple[I64, np.ndarray]:
        """The newest ``counts`` facts of admitted users, wherever they lie: rows of each (B,), flat; none if some are gone."""
        saved = self.hot.saved[self.hot.map.find(users)]
        found = self.store.read_facts(users, int(counts.max(initial=0)))
        whole = found.next == saved
        owner, position, facts = self._gathered()
        mine = SlotMap(len(users))
        mine.insert(users)
        at = mine.find(owner)
        theirs = np.flatnonzero(at >= 0)
        late = theirs[position[theirs] >= saved[at[theirs]]]
        at, position, facts = at[late], position[late], facts[late]
        last = _newest(at, position)
        both = np.concatenate([np.repeat(np.arange(len(users)), found.counts), at[last]])
        rows = np.concatenate([found.facts.view(self.shape.facts).reshape(-1), facts[last]])
        rows = rows[np.argsort(both, kind="stable")]
        held = np.bincount(both, minlength=len(users))
        keep = np.where(whole, np.minimum(held, counts), 0)
        return keep, rows[places_from(np.cumsum(held) - keep, keep)]

    def _gathered(self) -> tuple[U64, I64, np.ndarray]:
        """What is pending, in one piece: users, positions, facts."""
        empty = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, self.shape.facts))
        owner, position, facts = (np.concatenate(column) for column in zip(empty, *self._pending, strict=True))
        self._pending = [(owner, position, facts)]
        return self._pending[0]

    def oldest(self, users: U64) -> tuple[I64, I64]:
        """Rows with states of admitted users, and the version of the oldest of them (0 where there is none)."""
        hot, capacity = self.hot, self.shape.capacity
        at = hot.map.find(users)
        first = np.maximum(hot.states_from[at], hot.head[at] - capacity)
        rows = np.maximum(hot.head[at] - first, 0)
        version = hot.facts["version"][at, first % capacity].astype(np.int64)
        return rows, np.where(rows > 0, version, 0)

    def renew(self, users: U64, counts: I64, states: Tensor, version: int, keys: U64 | None = None) -> None:
        """Replace the coded states (R, K x C) of each admitted user's newest rows, and what a search knows them by (R, W)."""
        at, capacity = self.hot.map.find(users), self.shape.capacity
        first = self.hot.head[at] - counts
        rows, _ = block_rows(at, first, counts, self.hot.states_from, capacity)
        facts = self.hot.facts.reshape(-1)[rows].copy()
        facts["version"] = version
        if self.shape.keys and keys is not None:
            facts["keys"] = keys
        self.hot.write(at, first, counts, facts, states)
        self.hot.renewed[at] = True
        self._pending.append((np.repeat(users, counts), places_from(first, counts), facts))

    def _expire(self, users: U64, at: I64, time: I64) -> None:
        """Who comes back after longer than a user lasts begins anew, whenever its states are dropped from the store."""
        if not self.ages.ttl:
            return
        last = self.hot.facts["time"][at, (self.hot.head[at] - 1) % self.shape.capacity]
        gone = (self.hot.head[at] > 0) & (time - last > self.ages.ttl)
        self.hot.states_from[at[gone]] = self.hot.head[at[gone]]
        self.budget.begin_anew(users[gone], self.hot.head[at[gone]])

    def drop_states(self, users: U64) -> None:
        """Drop the states of these users."""
        users, next_, seen = self.budget.of(users)
        self.budget.begin_anew(users, next_)
        self._drop(users, next_, seen)

    def drop_unseen(self, number: int) -> None:
        """Drop the states of users last active before this event of the stream: what nobody will read any more."""
        users, next_, seen = self.budget.unseen_since(number)
        self.budget.begin_anew(users, next_)
        self._drop(users, next_, seen)

    def _drop(self, users: U64, states_from: I64, seen: I64) -> None:
        at = self.hot.map.find(users)
        here = at >= 0
        self.hot.states_from[at[here]] = states_from[here]
        self._dropped |= dict(zip(users.tolist(), zip(states_from.tolist(), seen.tolist(), strict=True), strict=True))

    def delta(self) -> Rows:
        """What the store does not have yet, users in rising order."""
        owner, position, facts = self._gathered()
        last = _newest(owner, position)
        owner, position, facts = owner[last], position[last], facts[last]
        grown, begin, counts = np.unique(owner, return_index=True, return_counts=True)
        states = self._states(grown, position[begin], counts)
        users = np.union1d(grown, np.fromiter(self._dropped, np.uint64))
        columns: dict[str, Any] = {
            name: np.zeros(len(users), np.int64) for name in ("first", "counts", "states_from", "seen")
        }
        forgotten = np.sort(np.fromiter(self._forgotten, np.uint64))
        rows = Rows(users=users, facts=rows_as_bytes(facts), states=states, forgotten=forgotten, **columns)
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
        gone = places_from(first, counts) < np.repeat(self.hot.head[at] - self.shape.capacity, counts)
        states = self.hot.states[torch.from_numpy(rows).to(self.hot.device)].cpu().numpy()
        states[gone] = 0
        return rows_as_bytes(states)

    def saved(self) -> None:
        """The delta is in the store: its users may leave the arena."""
        self.hot.stored()
        self._pending.clear()
        self._dropped.clear()
        self._forgotten.clear()
        self._let_go()
        if self.store.damaged:  # found while they were written: nothing of them was kept
            at = self.hot.map.find(np.fromiter(self.store.damaged, np.uint64))
            self.hot.release(at[at >= 0])
            self._note_damage()
            self.store.damaged.clear()

    def _let_go(self) -> None:
        """Users whose rows the store passed over, as it had let them go by itself, begin anew; all ranks know of all."""
        gone = np.fromiter(self.store.gone, np.uint64)
        if len(gone) and self.group.rank == 0:
            _log.warning("memory: the store had let go of %d users for their age (memory.redis_ttl_days)", len(gone))
        gone = gone[own(self.group, gone)]
        at = self.hot.map.find(gone)
        self.hot.release(at[at >= 0])
        self.budget.forget(gone)
        self.store.gone.clear()

    def forget(self) -> None:
        """Forget everything here; the next cut must clear the store before it appends."""
        self.hot.release(self.hot.held())
        dropped = self.budget.dropped_users
        self.budget = Budget(self.budget.most_bytes, self.shape.state_bytes, self.shape.capacity)
        self.budget.dropped_users = dropped
        self._pending.clear()
        self._dropped.clear()
        self._forgotten.clear()


def _newest(owner: np.ndarray, position: I64) -> I64:
    """Places of rows in order of owner and position; of a row that was made anew, the last."""
    order = np.lexsort((position, owner))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(owner[order]) != 0) | (np.diff(position[order]) != 0)
    return order[last]


def nothing(users: int, memory: Memory) -> Recalled:
    """What is recalled of users of whom nothing is remembered."""
    none = np.zeros(0, np.int64)
    zero = np.zeros(users, np.int64)
    return Recalled(zero, zero, np.zeros(0, memory.shape.facts), memory.hot.states, none, none.astype(bool), 0)


def rows_as_bytes(rows: np.ndarray) -> np.ndarray:
    """Rows as bytes: (R, width)."""
    width = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))
    if not width or not len(rows):
        return np.zeros((len(rows), width), np.uint8)
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), width)
