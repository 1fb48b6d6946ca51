"""A store as of a cut: whatever is appended after it, by whomever, what it answers is what the store answered then."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.store.arena import ArenaStore
from marm.store.asof import AsOf
from tests.store.rings import LAYOUT, Given, rows_of

USERS = np.array([1, 2, 3, 4], np.uint64)
"""The last is in no store."""


def store_of(lengths: dict[int, int]) -> ArenaStore:
    """A store with so many rows of each user."""
    store = ArenaStore(LAYOUT)
    append(store, {user: (0, length) for user, length in lengths.items()}, 0)
    return store


def append(store: ArenaStore, parts: dict[int, tuple[int, int]], cut: int) -> None:
    """Append rows of users from a position on; a row's stamp is its position."""
    given: list[Given] = [
        (user, first, list(range(first, first + count)), 0, first + count) for user, (first, count) in parts.items()
    ]
    store.append(rows_of(given), cut)


def positions(store: ArenaStore | AsOf, count: int, before: np.ndarray | None = None) -> list[list[int]]:
    """Positions of the facts that are read of each user, and that first and counts say the same."""
    found = store.read_facts(USERS, count, before)
    stamps = np.ascontiguousarray(found.facts).view(np.int64).reshape(-1, 3)[:, 2] % 1000
    ends = np.cumsum(found.counts)
    out = [stamps[end - n : end].tolist() for end, n in zip(ends.tolist(), found.counts.tolist(), strict=True)]
    assert out == [list(range(f, f + n)) for f, n in zip(found.first.tolist(), found.counts.tolist(), strict=True)]
    return out


LENGTHS = st.dictionaries(st.sampled_from([1, 2, 3]), st.integers(1, 40), min_size=1)


@settings(max_examples=60)
@given(then=LENGTHS, later=LENGTHS, count=st.integers(1, 50), before=st.none() | st.integers(0, 20))
def test_facts_are_those_of_the_cut(
    then: dict[int, int], later: dict[int, int], count: int, before: int | None
) -> None:
    store = store_of(then)
    limit = None if before is None else np.full(len(USERS), before)
    wanted, next_ = positions(store, count, limit), store.read_facts(USERS, count, limit).next.tolist()
    asof = AsOf(store, store.holding())
    append(store, {user: (then.get(user, 0), more) for user, more in later.items()}, 1)
    assert positions(asof, count, limit) == wanted
    found = asof.read_facts(USERS, count, limit)
    assert found.next.tolist() == next_
    assert (found.states_from <= found.next).all()


def test_of_what_the_ring_let_go_since_there_is_what_is_left() -> None:
    store = store_of({1: 10})
    asof = AsOf(store, store.holding())
    append(store, {1: (10, LAYOUT.facts_kept - 4)}, 1)
    assert positions(asof, 50)[0] == list(range(6, 10))
    append(store, {1: (LAYOUT.facts_kept + 6, 100)}, 2)
    assert positions(asof, 50)[0] == []


def test_states_are_read_at_positions_and_lost_ones_are_said_to_be() -> None:
    store = store_of({1: 10})
    asof = AsOf(store, store.holding())
    user, first, counts = np.array([1], np.uint64), np.array([0]), np.array([10])
    wanted, there = asof.read_states(user, first, counts)
    assert there.all()
    append(store, {1: (10, 5)}, 1)
    found, there = asof.read_states(user, first, counts)
    assert there.all() and (found == wanted).all()
    append(store, {1: (15, LAYOUT.states_kept)}, 2)
    assert not asof.read_states(user, first, counts)[1].any()
    facts = asof.read_facts(user, 10)
    assert facts.states_from.tolist() == facts.next.tolist() == [10]


def test_what_it_holds_is_of_the_cut_and_it_cannot_be_changed() -> None:
    store = store_of({1: 10, 2: 3})
    asof = AsOf(store, store.holding())
    before = asof.stats()
    append(store, {1: (10, 5), 3: (0, 7)}, 1)
    assert asof.stats() == before and before.users == 2 and before.facts_rows == 13
    assert asof.holding().next.tolist() == [10, 3]
    assert asof.last_cut() == store.last_cut() == 1
    with pytest.raises(ValueError, match="read only"):
        asof.append(rows_of([(1, 10, [1], 0, 11)]), 2)
    with pytest.raises(ValueError, match="read only"):
        asof.clear()


def test_a_cut_of_nobody_shows_nobody() -> None:
    store = ArenaStore(LAYOUT)
    asof = AsOf(store, store.holding())
    append(store, {1: (0, 5)}, 0)
    assert positions(asof, 5) == [[], [], [], []]
