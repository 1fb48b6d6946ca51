"""What is too old to be read is not there, and a user who stayed away too long begins anew whenever its states are dropped."""

import numpy as np
import pytest
import torch

from marm.config import MemoryConfig
from marm.memory.memory import Memory, RingShape
from marm.store import ArenaStore

SHAPE = RingShape(depths=1, width=2, codec="float16", item_columns=(), capacity=8, facts_kept=20)
SECOND = 1_000_000
USER = np.array([7], np.uint64)


def memory_with(**limits: float) -> Memory:
    config = MemoryConfig(hot=4 * 8 * 100, **limits)
    return Memory(ArenaStore(SHAPE.layout("a test")), SHAPE, config, torch.device("cpu"))


def remember(memory: Memory, seconds: list[int], version: int = 0) -> None:
    facts = np.zeros(len(seconds), SHAPE.facts)
    facts["time"], facts["version"] = np.array(seconds) * SECOND, version
    memory.admit(USER, version + 1)
    states = torch.ones(len(seconds), 2, dtype=torch.float16)
    memory.remember(USER, np.array([len(seconds)]), facts, states, np.array([version]))


def there(memory: Memory, now: int, version: int = 0) -> list[bool]:
    memory.admit(USER, 1000)
    found: list[bool] = memory.recall(
        USER, np.array([now * SECOND]), 8, np.array([now * SECOND]), version
    ).there.tolist()
    return found


def cut(memory: Memory) -> None:
    memory.store.append(memory.delta(), memory.store.last_cut() + 1)
    memory.saved()


def test_rows_of_old_weights_are_not_there() -> None:
    memory = memory_with(max_age=2)
    for version in range(4):
        remember(memory, [version], version)
    assert there(memory, 10, 4) == [False, False, True, True]
    assert there(memory, 10, 9) == [False] * 4


def test_rows_of_old_events_are_not_there() -> None:
    memory = memory_with(max_age_seconds=5)
    remember(memory, [0, 3, 8])
    assert there(memory, 8) == [False, True]
    assert there(memory, 9) == [False, False, True]


@pytest.mark.parametrize("dropped", [False, True])
def test_who_stayed_away_too_long_begins_anew(dropped: bool) -> None:
    memory = memory_with(ttl=10)
    remember(memory, [0, 5])
    assert there(memory, 15) == [True, True] and there(memory, 16) == [False, False]
    if dropped:
        cut(memory)
        memory.drop_unseen(1)
        assert memory.budget.rows == 0
        cut(memory)
    remember(memory, [20], 1)
    assert there(memory, 21) == [False, False, True]
    assert memory.budget.rows == 1
    cut(memory)
    again = Memory(memory.store, SHAPE, MemoryConfig(hot=4 * 8 * 100, ttl=10), torch.device("cpu"))
    assert there(again, 21) == [False, False, True]
    assert memory.store.stats().rows == 1
