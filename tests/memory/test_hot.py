import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.memory.facts import facts_dtype
from marm.memory.hot import HotArena, block_rows
from marm.nn.codec import CODECS

FACTS = facts_dtype(["shelf"])
CAPACITY, WIDTH = 5, 3


def arena() -> HotArena:
    return HotArena(4, CAPACITY, FACTS, 4 * WIDTH, CODECS["float32"], torch.device("cpu"))


def rows_of(user: int, first: int, count: int) -> tuple[np.ndarray, torch.Tensor]:
    """Rows whose time is two thirds of their position, so that some are tied, and which tell whose they are."""
    facts = np.zeros(count, FACTS)
    position = np.arange(first, first + count)
    facts["time"], facts["item"] = position * 2 // 3, user * 1000 + position
    return facts, torch.from_numpy(np.repeat(facts["item"].astype(np.float32)[:, None], WIDTH, 1))


Write = tuple[int, int]


@settings(max_examples=60, deadline=None)
@given(writes=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 12)), max_size=15), before=st.integers(0, 25))
def test_the_ring_of_each_user_holds_its_newest_rows_and_finds_those_before_a_time(
    writes: list[Write], before: int
) -> None:
    hot, plain = arena(), dict.fromkeys(range(1, 5), 0)
    users = np.array(list(plain), np.uint64)
    at = hot.admit(users, 1)
    for user, count in writes:
        slot = hot.map.find(np.array([user], np.uint64))
        hot.write(slot, hot.head[slot], np.array([count]), *rows_of(user, plain[user], count))
        plain[user] += count
    first, counts, lost = hot.locate(at, np.full(4, before), 3)
    rows, there = block_rows(at, first, counts, hot.states_from, CAPACITY)
    row = 0
    for b, user in enumerate(users.tolist()):
        seen = [p for p in range(plain[user]) if p * 2 // 3 < before]
        view = [p for p in seen[-3:] if p >= plain[user] - CAPACITY]
        assert counts[b] == len(view)
        # Where the ring holds nothing so old, how many rows there were can only be bounded.
        assert lost[b] == len(seen[-3:]) - len(view) if len(view) else lost[b] >= len(seen[-3:])
        for position in view:
            assert hot.facts.reshape(-1)["item"][rows[row]] == user * 1000 + position
            assert hot.states[rows[row]].tolist() == [user * 1000 + position] * WIDTH
            row += 1
    assert row == len(rows) and there.all()


def test_rows_below_where_states_begin_are_not_there() -> None:
    hot = arena()
    at = hot.admit(np.array([9], np.uint64), 1)
    hot.write(at, np.array([0]), np.array([4]), *rows_of(9, 0, 4))
    hot.states_from[at] = 3
    _, there = block_rows(at, np.array([1]), np.array([3]), hot.states_from, CAPACITY)
    assert there.tolist() == [False, False, True]


def test_a_slot_given_anew_begins_empty() -> None:
    hot = arena()
    at = hot.admit(np.array([1, 2, 3, 4], np.uint64), 1)
    hot.write(at[:1], np.array([0]), np.array([4]), *rows_of(1, 0, 4))
    hot.release(at[:1])
    new = hot.admit(np.array([5], np.uint64), 2)
    assert new.tolist() == at[:1].tolist() and len(hot) == 4
    _, counts, _ = hot.locate(new, np.array([10**9]), 5)
    assert counts.tolist() == [0]
    assert hot.map.find(np.array([1], np.uint64)).tolist() == [-1]
