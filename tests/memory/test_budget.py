import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.memory.budget import Budget
from marm.store.base import Holding

KEPT = 5


def users(*names: int) -> np.ndarray:
    return np.array(names, np.uint64)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_nothing_is_dropped_up_to_the_budget() -> None:
    budget = Budget(most_bytes=60, row_bytes=10, kept=KEPT)
    budget.note(users(1, 2), numbers(3, 3), numbers(0, 1))
    assert budget.rows == 6 and not len(budget.drop()[0])


def test_the_user_seen_longest_ago_goes_first_until_a_tenth_is_free() -> None:
    budget = Budget(most_bytes=100, row_bytes=10, kept=KEPT)
    budget.note(users(7, 8, 9), numbers(4, 4, 3), numbers(5, 2, 9))
    gone, begins, seen = budget.drop()
    assert (gone.tolist(), begins.tolist(), seen.tolist()) == ([8], [4], [2])
    assert budget.rows == 7 and budget.dropped_users == 1
    budget.note(users(8), numbers(6), numbers(10))
    assert budget.rows == 9 and not len(budget.drop()[0])


def test_rows_beyond_the_ring_do_not_count() -> None:
    budget = Budget(most_bytes=1000, row_bytes=10, kept=KEPT)
    budget.note(users(1), numbers(500), numbers(0))
    assert budget.rows == KEPT


def test_rows_of_no_bytes_are_never_too_many() -> None:
    budget = Budget(most_bytes=1, row_bytes=0, kept=KEPT)
    budget.note(users(1), numbers(500), numbers(0))
    assert not len(budget.drop()[0])


Step = tuple[int, int]


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), max_size=40), stop=st.integers(0, 40))
def test_a_budget_taken_up_from_what_a_store_holds_drops_the_same_users(steps: list[Step], stop: int) -> None:
    """And the plainest model of it agrees: least recently seen first, ties by user, down to nine tenths."""
    whole, taken = Budget(100, 10, KEPT), Budget(100, 10, KEPT)
    plain: dict[int, list[int]] = {}
    for number, (user, grown) in enumerate(steps):
        if number == stop:
            held = sorted(plain)
            columns = (np.array([plain[u][i] for u in held], np.int64) for i in range(3))
            taken = Budget(100, 10, KEPT)
            taken.adopt(Holding(np.array(held, np.uint64), *columns))
        ring = plain.setdefault(user, [0, 0, 0])
        ring[0], ring[2] = ring[0] + grown, number
        wanted = dropped(plain)
        for budget in (whole, taken) if number >= stop else (whole,):
            budget.note(users(user), numbers(ring[0]), numbers(number))
            gone, begins, _ = budget.drop()
            assert dict(zip(gone.tolist(), begins.tolist(), strict=True)) == wanted


def dropped(plain: dict[int, list[int]]) -> dict[int, int]:
    def rows(ring: list[int]) -> int:
        return min(ring[0] - ring[1], KEPT)

    out: dict[int, int] = {}
    if sum(map(rows, plain.values())) <= 10:
        return out
    for user in sorted(plain, key=lambda u: (plain[u][2], u)):
        if sum(map(rows, plain.values())) <= 9:
            break
        if rows(plain[user]):
            plain[user][1] = out[user] = plain[user][0]
    return out
