import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marm.metrics import auc, gauc, gauc_interval, per_event_auc

VALUES = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 0.5, 1.0])
ROWS = st.lists(st.tuples(st.integers(0, 3), VALUES, st.sampled_from([0.0, 1.0, math.nan])), max_size=40)


def columns(rows):
    users = np.array([row[0] for row in rows], np.uint64)
    scores, labels = (np.array([row[i] for row in rows], np.float32) for i in (1, 2))
    return users, scores, labels


def auc_by_pairs(scores, labels):
    """Every positive against every negative."""
    wins = [(p > n) + (p == n) / 2 for p in scores[labels == 1] for n in scores[labels == 0]]
    return sum(wins) / len(wins) if wins else math.nan


def test_auc_of_four_rows_counts_three_pairs_of_four():
    assert auc(np.array([0.1, 0.4, 0.35, 0.8], np.float32), np.array([0, 0, 1, 1], np.float32)) == 0.75


def test_equal_scores_count_half():
    assert auc(np.full(5, 0.3, np.float32), np.array([1, 0, 1, 0, 0], np.float32)) == 0.5


@given(ROWS)
def test_auc_equals_counting_every_pair(rows):
    _, scores, labels = columns(rows)
    assert auc(scores, labels) == pytest.approx(auc_by_pairs(scores, labels), nan_ok=True)


def test_scores_in_double_precision_do_not_tie_where_single_precision_would():
    assert auc(np.array([0.5, 0.5 + 1e-12]), np.array([0, 1], np.float32)) == 1.0


@pytest.mark.parametrize("labels", [[1, 1], [0, 0], [math.nan, 1]])
def test_auc_of_one_class_has_no_value(labels):
    assert math.isnan(auc(np.array([0.1, 0.2], np.float32), np.array(labels, np.float32)))


def test_a_score_that_is_no_number_gives_no_value():
    users, labels = np.zeros(3, np.uint64), np.array([0, 1, 1], np.float32)
    scores = np.array([0.1, math.nan, 0.3], np.float32)
    assert math.isnan(auc(scores, labels))
    assert math.isnan(gauc(users, scores, labels).value)


def test_gauc_weighs_users_by_events_and_leaves_out_users_of_one_class():
    users = np.array([7, 7, 7, 7, 2**63, 2**63, 5, 5, 5], np.uint64)
    scores = np.array([0.1, 0.4, 0.35, 0.8, 0.9, 0.1, 0.1, 0.2, 0.3], np.float32)
    labels = np.array([0, 0, 1, 1, 0, 1, 1, 1, 1], np.float32)
    found = gauc(users, scores, labels)
    assert found.value == (4 * 0.75 + 2 * 0.0) / 6
    assert (found.users_used, found.users_left_out, found.events_used) == (2, 1, 6)


@given(ROWS)
def test_gauc_equals_a_loop_over_users(rows):
    users, scores, labels = columns(rows)
    known = ~np.isnan(labels)
    parts = [(known & (users == user)) for user in np.unique(users[known])]
    kept = [(auc_by_pairs(scores[part], labels[part]), part.sum()) for part in parts]
    used = [(value, size) for value, size in kept if not math.isnan(value)]
    found = gauc(users, scores, labels)
    wanted = sum(value * size for value, size in used) / sum(size for _, size in used) if used else math.nan
    assert found.value == pytest.approx(wanted, nan_ok=True)
    assert (found.users_used, found.users_left_out) == (len(used), len(kept) - len(used))
    assert found.events_used == sum(size for _, size in used)


def test_per_event_auc_is_the_mean_share_of_negatives_below_the_positive():
    events = np.array([3, 3, 3, 3, 3, 9, 9, 9, 11], np.int64)
    labels = np.array([1, 0, 0, 0, 0, 0, 1, 0, 1], np.float32)
    scores = np.array([0.5, 0.1, 0.2, 0.5, 0.9, 0.1, 0.8, 0.2, 0.7], np.float32)
    assert per_event_auc(events, scores, labels) == ((2 + 0.5) / 4 + 1.0) / 2


def test_the_interval_is_keyed_by_its_seed_and_holds_gauc():
    draw = np.random.default_rng(5)
    users = draw.integers(0, 300, 6000).astype(np.uint64)
    scores = draw.random(6000, dtype=np.float32)
    labels = (draw.random(6000) < scores).astype(np.float32)
    low, high = gauc_interval(users, scores, labels, seed=1)
    assert low < gauc(users, scores, labels).value < high
    assert 0.01 < high - low < 0.05
    assert (low, high) == gauc_interval(users, scores, labels, seed=1)
    assert (low, high) != gauc_interval(users, scores, labels, seed=2)


def test_the_interval_of_users_who_are_all_alike_has_no_width():
    users = np.repeat(np.arange(9, dtype=np.uint64), 2)
    scores, labels = np.tile([0.1, 0.2], 9).astype(np.float32), np.tile([0, 1], 9).astype(np.float32)
    assert gauc_interval(users, scores, labels, seed=0) == (1.0, 1.0)
    assert all(math.isnan(end) for end in gauc_interval(users, scores, labels * 0, seed=0))
