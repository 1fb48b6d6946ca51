"""A pass as one layer reads it that searches: each query's picked rows, then those of its window, written out one by one."""

from dataclasses import dataclass, replace

import numba as nb
import numpy as np
from torch import Tensor

from marm.model.inputs import Pass
from marm.nn.operands import plan_work
from marm.nn.views import Views
from marm.types import I16, I64


@dataclass(frozen=True)
class Rows:
    """Rows beside a pass's own (P): those that were picked, query by query, then any that travel beside them."""

    time: I64
    known: I64
    outcome: I16
    position: I64
    state_of_row: I64
    """As in ``Pass``."""
    previous: I64
    """Which of these rows comes before it in the history; -1: none, or nobody asks."""
    item: I64
    """Number of the item among those picked."""
    item_VD: Tensor


def beside(passed: Pass, at: I64, rows: Rows, shift: bool) -> Pass:
    """The pass with the rows ``[at[k], at[k + 1])`` before the window of query k; ``shift``: each brings its previous row."""
    own, count = passed.views, len(passed.views.time)
    entries, bounds = _spread(at, own.begin, own.end, count)
    previous, source = np.full(len(entries), -1), entries
    if shift:
        before = np.concatenate([own.previous, np.where(rows.previous < 0, -1, rows.previous + count)])[entries]
        # Previous rows come after all others, where no query looks.
        source = np.concatenate([entries, np.maximum(before, 0)])
        previous = np.concatenate([np.where(before < 0, -1, len(entries) + np.arange(len(entries))), previous])

    def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second])[source]

    views = Views(
        both(own.time, rows.time),
        both(own.known, rows.known),
        both(own.outcome, rows.outcome),
        previous,
        both(own.place, rows.position),
        bounds[:-1],
        bounds[1:],
        own.asked,
    )
    return replace(
        passed,
        item_of_row=both(passed.item_of_row, passed.items.count + rows.item),
        views=views,
        work=plan_work(views, np.arange(len(own.begin)), bounds),
        state_of_row=both(passed.state_of_row, rows.state_of_row),
    )


@nb.njit(cache=True, nogil=True)
def _spread(at: I64, begin: I64, end: I64, count: int) -> tuple[I64, I64]:
    """For each query its picked rows, numbered from ``count`` on, then its view; and where each query's begin, (Q + 1,)."""
    bounds = np.zeros(len(begin) + 1, np.int64)
    for k in range(len(begin)):
        picked = at[k + 1] - at[k] if k + 1 < len(at) else 0
        bounds[k + 1] = bounds[k] + picked + end[k] - begin[k]
    out = np.empty(bounds[-1], np.int64)
    for k in range(len(begin)):
        picked = at[k + 1] - at[k] if k + 1 < len(at) else 0
        for i in range(picked):
            out[bounds[k] + i] = count + at[k] + i
        for j in range(begin[k], end[k]):
            out[bounds[k] + picked + j - begin[k]] = j
    return out, bounds
