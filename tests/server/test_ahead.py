"""What is read of users before their turn is what the store would say in it, and is given out once."""

import numpy as np
import pytest

from marm.server.ahead import Ahead
from marm.server.guard import AtHand, Guard
from marm.store import ArenaStore, Facts, Store
from marm.store.whole import read_whole
from marm.types import U8, U64, Bool
from tests.store.rings import LAYOUT, Given, rows_of

COUNT = LAYOUT.states_kept
USERS = np.array([3, 5, 9, 12], np.uint64)


@pytest.fixture
def store() -> ArenaStore:
    """Users of no rows at all, few, and more than a ring of states holds; one whose oldest states were dropped."""
    out = ArenaStore(LAYOUT)
    given: list[Given] = [(3, 0, [1] * 100, 0, 1), (5, 0, [2] * 6, 4, 2), (12, 0, [3] * COUNT, 0, 3)]
    out.append(rows_of(given), 0)
    return out


def whole(store: Store, users: U64) -> tuple[Facts, U8, Bool]:
    return read_whole(store, users, COUNT, LAYOUT.state_bytes)


def guarded(store: Store, most: int = 8, known: int = 8) -> Guard:
    guard = Guard(store, AtHand(10**6), lambda: store, lambda: None)
    guard.ahead = Ahead(most, known, COUNT)
    return guard


def test_what_was_read_before_is_what_the_store_says_in_any_order_and_company(store: ArenaStore) -> None:
    guard = guarded(store)
    guard.bring(USERS[:2])
    guard.bring(USERS[2:])
    guard.broken = True  # whatever is answered now was read before
    for users in (USERS[[2, 0]], USERS[[3, 1]]):
        found, wanted = whole(guard, users), whole(store, users)
        for one, other in zip(vars(found[0]).values(), vars(wanted[0]).values(), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(found[1], wanted[1])
        np.testing.assert_array_equal(found[2], wanted[2])
        assert found[0].next.max() > 0 and not guard.failed
    whole(guard, USERS[:1])
    assert guard.failed == {3: "raw"}  # given out once; now it is asked of the store, which is away


def test_who_was_not_read_before_is_asked_of_the_store_with_all_its_company(store: ArenaStore) -> None:
    guard = guarded(store, most=2)
    guard.bring(USERS)
    assert guard.ahead and guard.ahead.facts(USERS[2:], COUNT) and not guard.ahead.facts(USERS[1:3], COUNT)
    assert not guard.ahead.facts(USERS[2:], COUNT - 1)
    found, wanted = whole(guard, USERS), whole(store, USERS)
    np.testing.assert_array_equal(found[0].facts, wanted[0].facts)
    np.testing.assert_array_equal(found[1], wanted[1])


def test_who_was_asked_for_longest_ago_is_known_no_more(store: ArenaStore) -> None:
    guard = guarded(store, known=2)
    assert guard.ahead and not guard.ahead.knows(3)
    guard.bring(USERS[:2])
    assert guard.ahead.knows(3)
    guard.bring(USERS[3:])
    assert [guard.ahead.knows(int(user)) for user in USERS] == [True, False, False, True]


def test_a_store_that_fails_leaves_nothing_and_one_that_is_closed_is_not_asked(store: ArenaStore) -> None:
    guard = guarded(store)
    guard.broken = True
    guard.bring(USERS)
    assert guard.ahead and not guard.ahead.knows(3) and not guard.failed
    failures: list[int] = []
    closed = Guard(store, AtHand(10**6), lambda: store, lambda: failures.append(1))
    closed.ahead = Ahead(8, 8, COUNT)
    closed.close()
    closed.bring(USERS)
    assert not failures and not closed.ahead.knows(3)
