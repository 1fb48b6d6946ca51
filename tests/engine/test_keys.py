"""States found by item: the last write that a target sees is read for every exposure of its item."""

import numpy as np

from marm.engine.keys import last_writes


def test_of_two_exposures_of_an_item_the_later_write_is_read_for_both_once_it_is_seen() -> None:
    #          0  1  2  3  4   of one user, then another
    item = np.array([7, 3, 7, 4, 7, 3, 7])
    begin, end = np.array([0, 0, 1, 2, 5]), np.array([2, 3, 5, 2, 7])
    found = np.split(last_writes(item, begin, end), np.cumsum(end - begin)[:-1])
    assert [rows.tolist() for rows in found] == [[0, 1], [2, 1, 2], [1, 4, 3, 4], [], [5, 6]]
