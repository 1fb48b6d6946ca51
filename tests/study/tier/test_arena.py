"""The simulated arena holds, drops and writes the same users as the real one on the same trace."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from marm.config import MemoryConfig
from marm.memory.memory import Memory, MemoryFull, RingShape
from marm.store import ArenaStore
from marm.study.tier.arena import play
from marm.study.tier.people import requests_of
from marm.study.tier.settings import People

SHAPE = RingShape(depths=1, width=2, codec="float16", item_columns=(), capacity=4, facts_kept=4)
PEOPLE = People(users=1000, events=40_000, session=20, request=2)


def memory_of(slots: int) -> Memory:
    config = MemoryConfig(hot=slots * SHAPE.ring_bytes, url="arena://")
    return Memory(ArenaStore(SHAPE.layout("")), SHAPE, config, torch.device("cpu"))


def admit(memory: Memory, users: np.ndarray, step: int) -> bool:
    """Whether a cut had to make room."""
    try:
        memory.admit(users, step)
        return False
    except MemoryFull:
        save(memory, step)
        memory.admit(users, step)
        return True


def save(memory: Memory, step: int) -> int:
    """A cut; returns the users written."""
    delta = memory.delta()
    memory.store.append(delta, memory.store.last_cut() + 1 + step)
    memory.saved()
    return len(delta.users)


def trace() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    requests = requests_of(PEOPLE, 300, 0.5, seed=5)
    step = np.arange(len(requests.user)) // 8
    return requests.user, step, step // 6


def passes(user: np.ndarray, step: np.ndarray, cut: np.ndarray) -> Iterator[tuple[np.ndarray, int, bool]]:
    """Users of each step, each once, its number, and whether a cut was just before it."""
    for one in np.unique(step):
        here = step == one
        at = cut[here][0]
        yield np.unique(user[here]), int(one), bool(one and at != cut[step == one - 1][0])


@pytest.mark.parametrize("slots", [15, 60])
def test_a_trainers_arena_hits_and_writes_as_the_real_one(slots: int) -> None:
    user, step, cut = trace()
    memory, hits, forced, written, since = memory_of(slots), [], 0, [], 0
    for users, now, new_cut in passes(user, step, cut):
        if new_cut:
            written.append(since + save(memory, now))
            since = 0
        there = memory.hot.map.find(users.astype(np.uint64)) >= 0
        hits.append(there[np.searchsorted(users, user[step == now])])
        before = len(memory.delta().users)
        if admit(memory, users.astype(np.uint64), now + 1):
            forced, since = forced + 1, since + before
        facts = np.zeros(len(users), SHAPE.facts)
        facts["time"] = now
        memory.remember(users.astype(np.uint64), np.ones(len(users), np.int64), facts, torch.zeros(len(users), 1, 2),
                        np.full(len(users), now))  # fmt: skip
    written.append(since + save(memory, 10**6))
    played = play(user, step, cut, slots, writes=True)
    assert played.hit.tolist() == np.concatenate(hits).tolist()
    assert (played.forced, played.written.tolist()) == (forced, written)
    assert 0.05 < played.hit.mean() < 0.95 and (slots > 20 or forced)


def test_a_servers_arena_hits_as_the_real_one_and_begins_anew_with_each_cut() -> None:
    user, step, cut = trace()
    memory, hits = memory_of(15), []
    for users, now, new_cut in passes(user, step, cut // 4):
        if new_cut:
            memory = memory_of(15)
        there = memory.hot.map.find(users.astype(np.uint64)) >= 0
        hits.append(there[np.searchsorted(users, user[step == now])])
        memory.admit(users.astype(np.uint64), now + 1)
    assert play(user, step, cut // 4, 15, writes=False).hit.tolist() == np.concatenate(hits).tolist()
