"""What is kept for days when the store is gone: the newest rows of users who have any, within its bytes."""

import sys
from threading import Thread

import numpy as np
import pytest

from marm.server.guard import AtHand, Guard
from marm.store import ArenaStore
from tests.store.rings import LAYOUT, rows_of

USERS = np.array([3, 5], np.uint64)


@pytest.fixture
def store() -> ArenaStore:
    """One user with twelve rows; nobody else."""
    out = ArenaStore(LAYOUT)
    out.append(rows_of([(3, 0, [1] * 12, 0, 1)]), 0)
    return out


def test_a_question_about_the_past_takes_nothing_from_what_is_at_hand(store: ArenaStore) -> None:
    guard = Guard(store, AtHand(10**6), lambda: store, lambda: None)
    newest = guard.read_facts(USERS, 4)
    assert guard.read_facts(USERS, 4, np.array([2, 2])).next.tolist() == [12, 0]
    guard.broken = True
    held = guard.read_facts(USERS, 4)
    assert (held.next.tolist(), held.counts.tolist()) == ([12, 0], [4, 0])
    np.testing.assert_array_equal(held.facts, newest.facts)


def test_users_without_rows_take_no_room_and_others_more_than_their_rows(store: ArenaStore) -> None:
    at_hand = AtHand(2000)
    strangers = np.arange(100, 10_100, dtype=np.uint64)
    at_hand.keep(strangers, store.read_facts(strangers, 4))
    assert len(at_hand) == 0
    for user in range(100):
        at_hand.keep(np.array([user], np.uint64), store.read_facts(USERS[:1], 1))
    assert 0 < len(at_hand) < 10


def test_what_is_let_go_of_while_more_is_kept_leaves_the_count_right(store: ArenaStore) -> None:
    at_hand, found = AtHand(3000), store.read_facts(USERS[:1], 4)

    def keep() -> None:
        for user in range(20_000):
            at_hand.keep(np.array([user], np.uint64), found)

    interval, keeping = sys.getswitchinterval(), Thread(target=keep)
    sys.setswitchinterval(1e-6)
    try:
        keeping.start()
        while keeping.is_alive():
            at_hand.clear()
        keeping.join()
    finally:
        sys.setswitchinterval(interval)
    at_hand.clear()
    at_hand.keep(USERS[:1], found)
    assert len(at_hand) == 1 and at_hand.of(USERS[:1], LAYOUT, 4).counts.tolist() == [4]
