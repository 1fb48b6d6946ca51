"""What waits for its outcome, counted by a plain loop over pairs and in blocks."""

import numpy as np
import pytest

from marm.data.outstanding import Outstanding


@pytest.mark.parametrize("seed", range(5))
def test_the_most_that_wait_at_once_are_those_that_a_plain_count_finds(seed):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.integers(0, 3, 200))
    user, known = rng.integers(0, 4, 200).astype(np.uint64), time + rng.integers(0, 60, 200) * (time % 90 < 60)
    wanted = 0
    for k in range(200):
        mine = np.flatnonzero(user[:k] == user[k])
        wanted = max(wanted, int((np.maximum.accumulate(known[mine]) > time[k]).sum()))
    found = Outstanding()
    for low in range(0, 200, 37):
        found.add(*(column[low : low + 37] for column in (user, time, known)))
    assert found.most == wanted > 5


def test_nothing_waits_where_outcomes_are_known_at_once():
    time = np.arange(50)
    found = Outstanding()
    found.add(np.ones(50, np.uint64), time, time)
    assert found.most == 0
