"""How fast a user goes: which bucket the time since the newest events falls into."""

import numpy as np

from marm.model.pace import PLACES, pace_codes
from marm.nn.views import GAPS, Views

SECOND = 1 << 20


def views(time, begin, end, asked):
    rows, queries = len(time), len(asked)
    none = np.zeros(rows, np.int64)
    return Views(
        np.array(time, np.int64), none, none.astype(np.int16), none, none,
        np.full(queries, begin), np.full(queries, end), np.array(asked, np.int64),
    )  # fmt: skip


def test_a_code_is_the_doubling_of_the_seconds_since_the_place_of_it():
    time = [i * SECOND for i in range(20)]
    codes = pace_codes(views(time, 0, 20, [19 * SECOND, 20 * SECOND, 35 * SECOND])) - np.arange(5) * (GAPS + 1)
    assert codes.tolist() == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [5, 5, 5, 5, 5]]


def test_what_a_query_does_not_see_has_a_code_of_its_own():
    codes = pace_codes(views([0, SECOND, 2 * SECOND], 1, 3, [3 * SECOND])) - np.arange(5) * (GAPS + 1)
    assert codes.tolist() == [[1, 2, GAPS, GAPS, GAPS]]
    assert (pace_codes(views([], 0, 0, [5])) % (GAPS + 1) == GAPS).all() and len(PLACES) == 5
