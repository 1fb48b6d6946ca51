import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from marm.data.negatives import draw

RNG = np.random.default_rng(0)
ITEMS = RNG.integers(1, 60, 2000).astype(np.uint64)
NUMBERS = np.arange(2000)


def drawn(numbers, per_event=4, recent=300, seed=3, ties=None, items=ITEMS):
    start, end = ties if ties is not None else (numbers, numbers + 1)
    return draw(numbers, start, end, per_event, recent, seed, lambda picks: items[picks])


def test_negatives_are_earlier_recent_and_never_the_events_own_item():
    made = drawn(NUMBERS)
    later = NUMBERS[:, None]
    assert (made[0] == -1).all()
    late = made[1000:]
    assert ((late >= 0) & (late < later[1000:]) & (late >= later[1000:] - 300)).all()
    assert (ITEMS[late] != ITEMS[NUMBERS[1000:]][:, None]).all()


@given(st.lists(st.integers(1, 500), max_size=10))
def test_the_same_negatives_come_however_events_are_batched(sizes):
    whole = drawn(NUMBERS[:600])
    cuts = np.cumsum(sizes)
    pieces = [drawn(piece) for piece in np.split(NUMBERS[:600], cuts[cuts < 600])]
    assert (np.concatenate(pieces) == whole).all()


def test_another_seed_draws_others_and_the_past_alone_matters():
    assert (drawn(NUMBERS, seed=4) != drawn(NUMBERS)).mean() > 0.9
    changed = ITEMS.copy()
    changed[1500:] += np.uint64(100)
    assert (drawn(NUMBERS[:1500], items=changed) == drawn(NUMBERS[:1500])).all()


def test_items_of_the_tie_group_are_excluded_and_the_group_is_not_drawn_from():
    numbers = np.arange(1000, 1005)
    ties = (np.full(5, 1000), np.full(5, 1005))
    made = drawn(numbers, per_event=20, ties=ties)
    assert (made < 1000).all()
    assert not np.isin(ITEMS[made], ITEMS[1000:1005]).any()


def test_negatives_of_an_event_are_distinct_items_while_there_are_enough():
    made = drawn(NUMBERS[1000:], per_event=8)
    assert all(len(set(ITEMS[row])) == 8 for row in made)


def test_too_few_other_items_repeat_and_none_gives_minus_one():
    two = np.array([1, 2] * 20, np.uint64)
    made = drawn(np.array([39]), per_event=3, items=two)
    assert (two[made] == 1).all()
    same = np.ones(40, np.uint64)
    assert (drawn(np.array([39]), items=same) == -1).all()


def test_draws_are_uniform_over_the_window():
    items = np.arange(1, 101, dtype=np.uint64)
    counts = np.zeros(100)
    for seed in range(300):
        counts += np.bincount(drawn(np.array([100]), 8, 50, seed, items=np.append(items, 999))[0], minlength=100)
    assert (counts[:50] == 0).all()
    share = counts[50:] / counts.sum()
    assert share.max() < 0.035
    assert share.min() > 0.008
