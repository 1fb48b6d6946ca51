from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.config import MemoryConfig
from marm.errors import SettingError
from marm.memory.memory import Memory, MemoryFull, Recalled, RingShape
from marm.store import ArenaStore

SHAPE = RingShape(depths=2, width=3, codec="float16", item_columns=("shelf",), capacity=6, facts_kept=20)
SLOT_BYTES = SHAPE.capacity * (SHAPE.facts.itemsize + SHAPE.state_bytes)
FAR = 1 << 40


class Driven:
    """A memory, and what a trainer does with it: cut when there is no room."""

    def __init__(self, slots: int, budget: int = 1 << 30, store: ArenaStore | None = None) -> None:
        self.store = store or ArenaStore(SHAPE.layout("a test"))
        config = MemoryConfig(hot=slots * SLOT_BYTES, budget=budget)
        self.memory = Memory(self.store, SHAPE, config, torch.device("cpu"))
        self.steps, self.cuts, self.next = 0, 0, {}

    def cut(self) -> None:
        self.store.append(self.memory.delta(), self.store.last_cut() + 1)
        self.memory.saved()
        self.cuts += 1

    def admit(self, users: np.ndarray) -> None:
        self.steps += 1
        try:
            self.memory.admit(users, self.steps)
        except MemoryFull:
            self.cut()
            self.memory.admit(users, self.steps)

    def remember(self, given: dict[int, int]) -> None:
        """Append rows of users; row p of a user is at time p, and its states say whose it is."""
        users = np.array(sorted(given), np.uint64)
        self.admit(users)
        counts = np.array([given[u] for u in users.tolist()])
        first = np.array([self.next.get(u, 0) for u in users.tolist()])
        self.next |= {u: self.next.get(u, 0) + given[u] for u in users.tolist()}
        facts = np.zeros(counts.sum(), SHAPE.facts)
        facts["time"] = np.concatenate([f + np.arange(c) for f, c in zip(first, counts, strict=True)])
        facts["item"] = np.repeat(users, counts) * np.uint64(100)
        states = torch.from_numpy((facts["item"] + facts["time"].astype(np.uint64)).astype(np.float16))
        self.memory.remember(
            users, counts, facts, states[:, None, None].repeat(1, 2, 3), np.full(len(users), self.steps)
        )

    def recall(self, users: list[int], before: int = FAR) -> list[tuple[bytes, list[list[float]], list[bool]]]:
        """What each user's newest four rows are, as nothing but values."""
        keys = np.array(users, np.uint64)
        self.admit(keys)
        return list(by_user(self.memory.recall(keys, np.full(len(keys), before), 4)))


def by_user(found: Recalled) -> Iterator[tuple[bytes, list[list[float]], list[bool]]]:
    begin = 0
    for count in found.counts.tolist():
        here = slice(begin, begin + count)
        there = found.there[here]
        states = found.block[torch.from_numpy(found.at[here])].numpy()
        states = np.where(there[:, None], states, 0)
        yield found.facts[here].tobytes(), states.tolist(), there.tolist()
        begin += count


Steps = list[dict[int, int]]
STEPS = st.lists(st.dictionaries(st.integers(1, 8), st.integers(1, 4), min_size=1, max_size=3), max_size=20)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, cuts=st.sets(st.integers(0, 19)), budget=st.sampled_from([1 << 30, 12 * SHAPE.state_bytes]))
def test_a_hot_arena_for_three_users_recalls_what_one_for_all_does(steps: Steps, cuts: set[int], budget: int) -> None:
    small, large = Driven(3, budget), Driven(100, budget)
    for number, given_ in enumerate(steps):
        for driven in (small, large):
            driven.remember(given_)
        if number in cuts:
            small.cut()
        for user in range(1, 9):
            for before in (FAR, 3):
                assert small.recall([user], before) == large.recall([user], before)
    assert large.cuts == 0
    for driven in (small, large):
        driven.cut()
    assert contents(small.store) == contents(large.store)


def contents(store: ArenaStore) -> dict[int, tuple[object, ...]]:
    held = store.holding()
    out: dict[int, tuple[object, ...]] = {}
    for i in range(len(held.users)):
        facts = store.read_facts(held.users[i : i + 1], 20)
        states, there = store.read_states(held.users[i : i + 1], facts.first, facts.counts)
        bounds = held.next[i], held.states_from[i], held.seen[i]
        out[int(held.users[i])] = (*bounds, facts.facts.tobytes(), states.tobytes(), there.tobytes())
    return out


@settings(max_examples=20, deadline=None)
@given(steps=STEPS)
def test_a_delta_appended_twice_is_appended_once(steps: Steps) -> None:
    once, twice = Driven(100, 12 * SHAPE.state_bytes), Driven(100, 12 * SHAPE.state_bytes)
    for number, given_ in enumerate(steps):
        for driven in (once, twice):
            driven.remember(given_)
            delta = driven.memory.delta()
            for _ in range(1 + (driven is twice)):
                driven.store.append(delta, number)
            driven.memory.saved()
    assert contents(once.store) == contents(twice.store)


@settings(max_examples=20, deadline=None)
@given(steps=STEPS, stop=st.integers(0, 20))
def test_a_memory_opened_over_a_store_goes_on_as_the_one_that_filled_it(steps: Steps, stop: int) -> None:
    budget = 12 * SHAPE.state_bytes
    whole, broken = Driven(100, budget), Driven(100, budget)
    for number, given_ in enumerate(steps):
        if number == stop:
            broken.cut()
            again = Driven(100, budget, broken.store)
            again.next, again.steps = broken.next, broken.steps
            broken = again
        for driven in (whole, broken):
            driven.remember(given_)
    for driven in (whole, broken):
        driven.cut()
    assert contents(whole.store) == contents(broken.store)


def test_a_user_without_a_past_recalls_nothing() -> None:
    assert Driven(3).recall([5]) == [(b"", [], [])]


def test_rows_of_users_who_are_not_saved_make_the_arena_full_until_a_cut() -> None:
    driven = Driven(2)
    driven.remember({1: 1, 2: 1})
    with pytest.raises(MemoryFull):
        driven.memory.admit(np.array([3], np.uint64), 9)
    driven.cut()
    driven.memory.admit(np.array([3], np.uint64), 9)


def test_a_step_of_more_users_than_fit_names_the_setting() -> None:
    driven = Driven(2)
    with pytest.raises(SettingError, match=r"memory\.hot holds 2 users, one step needs 3: raise memory\.hot"):
        driven.memory.admit(np.array([1, 2, 3], np.uint64), 1)


def test_what_is_forgotten_is_gone_and_its_rows_never_reach_the_store() -> None:
    driven = Driven(4)
    driven.remember({1: 3})
    driven.memory.forget()
    assert driven.recall([1]) == [(b"", [], [])] and driven.memory.budget.rows == 0
    assert not len(driven.memory.delta().users)


def test_the_past_of_many_users_is_what_was_remembered_last_wherever_it_lies() -> None:
    driven = Driven(4)
    driven.remember({1: 5, 2: 3, 3: 2})
    driven.cut()
    driven.remember({1: 8, 2: 2})
    users = np.array([3, 1, 2], np.uint64)
    counts = np.array([6, 2])
    driven.memory.renew(users[1:], counts, driven.memory.hot.states[: counts.sum()].clone(), version=9)
    rows, facts = driven.memory.past(users, np.array([10, 12, 4]))
    assert rows.tolist() == [2, 12, 4]
    assert facts["time"].tolist() == [0, 1, *range(1, 13), 1, 2, 3, 4]
    assert (facts["item"] == np.repeat(users, rows) * np.uint64(100)).all()
    # Made anew were the newest six of user 1 and two of user 2.
    assert facts["version"].tolist() == [0, 0, *[0] * 6, *[9] * 6, 0, 0, 9, 9]
    driven.cut()
    assert driven.store.read_facts(users, 2).facts.view(SHAPE.facts).reshape(-1)["version"].tolist() == [
        0,
        0,
        9,
        9,
        9,
        9,
    ]


def renewed(driven: Driven, user: int, rows: int) -> None:
    """Make a user's newest states anew: all their bytes are 7."""
    users, states = np.array([user], np.uint64), torch.full((rows, SHAPE.state_bytes), 7, dtype=torch.uint8)
    driven.memory.renew(users, np.array([rows]), SHAPE.coding.block(states.numpy()), version=9)


def test_who_was_made_anew_stays_in_the_arena_until_a_cut_has_that() -> None:
    driven = Driven(2)
    driven.remember({1: 3, 2: 2})
    driven.cut()
    renewed(driven, 1, 3)
    driven.recall([2])
    driven.remember({3: 1})  # one of them has to go, and 1 was not asked for longest
    assert driven.cuts == 1
    driven.cut()
    states, there = driven.store.read_states(np.array([1], np.uint64), np.array([0]), np.array([3]))
    assert there.all() and (states == 7).all()


def test_who_was_made_anew_was_last_seen_when_it_was() -> None:
    driven = Driven(1)
    driven.remember({1: 3})
    driven.cut()
    driven.remember({2: 1})
    driven.cut()
    driven.recall([1])
    renewed(driven, 1, 3)
    driven.cut()
    held = driven.store.holding()
    assert dict(zip(held.users.tolist(), held.seen.tolist(), strict=True)) == {1: 1, 2: 2}


def test_a_past_of_which_the_store_lost_some_is_none() -> None:
    driven = Driven(4)
    driven.remember({1: 5, 2: 3})
    driven.cut()
    driven.store.forget(np.array([1], np.uint64))
    rows, facts = driven.memory.past(np.array([1, 2], np.uint64), np.array([5, 5]))
    assert rows.tolist() == [0, 3] and facts["item"].tolist() == [200] * 3


def test_a_user_that_the_store_let_go_begins_anew_in_the_budget_too() -> None:
    driven = Driven(slots=1)
    driven.remember({1: 5})
    driven.memory.drop_states(np.array([1], np.uint64))
    driven.remember({2: 1})  # only one has room
    driven.cut()
    driven.store.forget(np.array([1], np.uint64))
    driven.next[1] = 0
    driven.remember({1: 2})
    assert driven.memory.budget.rows == 3
    driven.cut()
    held = driven.store.holding()
    assert dict(zip(held.users.tolist(), held.next.tolist(), strict=True)) == {1: 2, 2: 1}
