"""A store above another one answers as one that was written to all along, and leaves the lower one as it was."""

from dataclasses import replace

import numpy as np
import pytest

from marm.store import ArenaStore
from marm.store.above import Above
from marm.store.asof import AsOf
from tests.store.rings import LAYOUT, PlainStore, assert_same, rows_of


def ids(*users: int) -> np.ndarray:
    return np.array(users, np.uint64)


def given_at(random: np.random.Generator, plain: PlainStore, users: list[int], cut: int) -> list:
    given = []
    for user in users:
        size = len(plain.rings[user].stamps) if user in plain.rings else 0
        stamps = random.integers(0, 999, int(random.integers(0, 70))).tolist()
        given.append((user, max(0, size - 2), stamps, max(0, size - int(random.integers(0, 60))), cut))
    return given


def test_reads_and_appends_are_those_of_one_store_and_the_lower_one_stays() -> None:
    random, plain, lower, below = np.random.default_rng(4), PlainStore(), ArenaStore(LAYOUT), PlainStore()
    for cut in range(12):
        given = given_at(random, plain, random.choice(20, 8, replace=False).tolist(), cut)
        for store in (plain, below):
            store.append(given, cut)
        lower.append(rows_of(given), cut)
    above = Above(lower, ArenaStore(LAYOUT))
    assert_same(above, plain, list(range(24)))
    for cut in range(12, 22):
        given = given_at(random, plain, random.choice(24, 5, replace=False).tolist(), cut)
        above.append(rows_of(given), cut)
        plain.append(given, cut)
    above.append(replace(rows_of([(3, 0, [1], 0, 22)]), forgotten=ids(3, 4)), 22)
    plain.forget([3, 4])
    plain.append([(3, 0, [1], 0, 22)], 22)
    above.append(rows_of([(3, 0, [9], 0, 9)]), 22)  # a replay
    above.forget(ids(5, 99))
    plain.forget([5])
    assert_same(above, plain, list(range(24)))
    assert_same(lower, below, list(range(24)))
    with pytest.raises(ValueError, match="not cleared"):
        above.clear()


def test_facts_that_a_trainer_let_go_meanwhile_are_not_made_up() -> None:
    lower = ArenaStore(LAYOUT)
    lower.append(rows_of([(7, 0, [1] * 200, 150, 1)]), 0)
    above = Above(AsOf(lower, lower.holding()), ArenaStore(LAYOUT))
    lower.append(rows_of([(7, 200, [2] * 30, 150, 2)]), 1)
    before = above.read_facts(ids(7), 1000)
    assert before.first.tolist() == [80] and before.next.tolist() == [200]
    above.append(rows_of([(7, 200, [3] * 5, 150, 3)]), 1)
    after = above.read_facts(ids(7), 1000)
    assert (after.first[0], after.counts[0], after.next[0]) == (80, 125, 205)
    assert np.array_equal(after.facts[:120], before.facts)
    _, there = above.read_states(ids(7), np.array([135]), np.array([70]))
    assert there.tolist() == [False] * 25 + [True] * 45
