"""A simulated log through a memory on a small budget: eviction as a slow plain model has it, memory flat, disk bounded."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from marm.config import MemoryConfig
from marm.memory.memory import Memory, MemoryFull, RingShape
from marm.store import LmdbStore, generations
from marm.types import I64, U64

SHAPE = RingShape(depths=3, width=64, codec="float16", item_columns=(), capacity=40, facts_kept=200)
STEP, CUT_EVERY = 2048, 20
FLAT = 1.15
"""Most that a process's memory may grow after the first half of the stream."""


class PlainRing:
    """Who holds how many states, by dictionaries, an event at a time; eviction by sorting all users."""

    def __init__(self, budget: int) -> None:
        self.most, self.next, self.begin, self.seen = budget // SHAPE.state_bytes, {}, {}, {}
        self.rows = 0

    def held(self, user: int) -> int:
        return min(self.next[user] - self.begin[user], SHAPE.capacity)

    def step(self, users: list[int], counts: list[int], seen: list[int]) -> None:
        for user, count, last in zip(users, counts, seen, strict=True):
            self.begin.setdefault(user, 0)
            self.rows -= self.held(user) if user in self.next else 0
            self.next[user], self.seen[user] = self.next.get(user, 0) + count, last
            self.rows += self.held(user)
        if self.rows > self.most:
            for user in sorted(self.next, key=lambda one: (self.seen[one], one)):
                if self.rows <= 0.9 * self.most:
                    break
                self.rows -= self.held(user)
                self.begin[user] = self.next[user]


def anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def steps(events: int, users: int) -> list[tuple[U64, I64, I64]]:
    """Users of each step, their events in it, and the number of each one's last; few come often, many once."""
    random = np.random.default_rng(0)
    out = []
    for begin in range(0, events, STEP):
        drawn = np.sort(
            (users * random.random(STEP) ** 3).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
        )
        who, counts = np.unique(drawn, return_counts=True)
        out.append((who, counts, begin + np.cumsum(counts)))
    return out


def remembered(memory: Memory, who: U64, counts: I64, seen: I64, number: int) -> None:
    try:
        memory.admit(who, number + 1)
    except MemoryFull:
        cut(memory)
        memory.admit(who, number + 1)
    facts = np.zeros(int(counts.sum()), SHAPE.facts)
    facts["time"], facts["item"] = number, np.repeat(who, counts)
    stamps = torch.from_numpy((np.repeat(who, counts) % np.uint64(1000)).astype(np.float16))
    memory.remember(who, counts, facts, stamps[:, None].expand(-1, SHAPE.depths * SHAPE.width), seen)


def cut(memory: Memory) -> None:
    memory.store.append(memory.delta(), memory.store.last_cut() + 1)
    memory.saved()


def test_a_long_log_through_a_small_budget(tmp_path: Path, soak: Callable[[int, int], int]) -> None:
    events, users = soak(60_000, 10_000_000), soak(3_000, 400_000)
    budget = soak(20_000 * SHAPE.state_bytes, 2 * 1024**3)
    plain, store = PlainRing(budget), LmdbStore(tmp_path, SHAPE.layout("soak"))
    slot = SHAPE.capacity * (SHAPE.facts.itemsize + SHAPE.state_bytes)
    memory = Memory(store, SHAPE, MemoryConfig(hot=soak(2_100, 20_000) * slot, budget=budget), torch.device("cpu"))
    stream, half = steps(events, users), 0
    for number, (who, counts, seen) in enumerate(stream):
        remembered(memory, who, counts, seen, number)
        plain.step(who.tolist(), counts.tolist(), seen.tolist())
        assert memory.budget.rows == plain.rows
        if number % CUT_EVERY == CUT_EVERY - 1:
            cut(memory)
        if number == len(stream) // 2:
            half = anonymous()
    assert anonymous() < 2 * 1024**3
    # Users are still coming in, at some hundred bytes each; rows are not among what grows.
    assert anonymous() < FLAT * half + 300 * users
    cut(memory)
    held = store.holding()
    kept = dict(
        zip(held.users.tolist(), np.minimum(held.next - held.states_from, SHAPE.capacity).tolist(), strict=True)
    )
    assert kept == {user: plain.held(user) for user in plain.next}
    assert any(rows == 0 for rows in kept.values()) and max(kept.values()) == SHAPE.capacity
    with closing(LmdbStore(tmp_path, SHAPE.layout("soak"), generation=generations.beside(tmp_path))) as fresh:
        store.copy_rows(fresh)
        fresh.take_over(store.last_cut())
        size = (tmp_path / fresh.generation / "data.mdb").stat().st_size
        # Chunks of 64 rows, some not full, one short of a page at most.
        assert size < 4 * store.stats().bytes
        assert fresh.stats() == store.stats()
    store.close()
