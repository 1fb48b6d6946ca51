"""States found by item, as in the paper (``memory.keys``): of several exposures of one item the last write is read for all.

    a target's view    a b a c | state read    a3 b2 a3 c4      event j of item x is xj

A write is seen by the targets after its event, and by no other: each view is written out with the states it reads.
"""

from dataclasses import replace

import numba as nb
import numpy as np

from marm.engine.beside import Lists, Rows, beside
from marm.model.inputs import Pass
from marm.types import I64, U64


def by_item(passed: Pass, ids: U64, shift: bool) -> Pass:
    """The pass with every row of a view reading the state of the newest row of its item in that view.

    ``ids`` (U,) of the pass's distinct items: one that was logged in two categories is one item here.
    """
    none = np.zeros(0, np.int64)
    nothing = Rows(none, none, none.astype(np.int16), none, none, none, none)
    queries = np.arange(len(passed.item_of_query))
    lists = Lists(np.zeros(len(queries) + 1, np.int64), none, queries, queries, ())
    written = beside(passed, lists, nothing, passed.items.ids[:0], shift)
    number = np.unique(ids, return_inverse=True)[1].astype(np.int64)
    views = passed.views
    last = last_writes(number[passed.item_of_row], views.begin, views.end)
    state = written.state_of_row.copy()
    state[: len(last)] = passed.state_of_row[last]
    return replace(written, state_of_row=state)


@nb.njit(cache=True, nogil=True)
def last_writes(item: I64, begin: I64, end: I64) -> I64:
    """For each row that each query sees, query by query, the newest row of the same item that it sees (P,)."""
    items = item.max() + 1 if len(item) else 0
    seen, newest = np.full(items, -1), np.empty(items, np.int64)
    out = np.empty((end - begin).sum(), np.int64)
    first = 0
    for k in range(len(begin)):
        for j in range(end[k] - 1, begin[k] - 1, -1):
            if seen[item[j]] != k:
                seen[item[j]], newest[item[j]] = k, j
            out[first + j - begin[k]] = newest[item[j]]
        first += end[k] - begin[k]
    return out
