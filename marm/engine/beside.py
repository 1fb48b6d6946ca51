"""A pass as one layer reads it that searches: each query's picked rows, then those of its window, written out one by one.

Where many queries share a window, as a request's candidates do, it is written out once, after all that any of them picked.
"""

from dataclasses import dataclass, replace

import numba as nb
import numpy as np

from marm.memory.search import Found
from marm.model.inputs import Pass
from marm.nn.choices import Choices
from marm.nn.operands import plan_work
from marm.nn.views import Views
from marm.store.rings import places_from
from marm.types import I16, I64, U64


@dataclass(frozen=True)
class Lists:
    """What was picked, list by list: of queries that share a window one for all of them, else one for each query."""

    at: I64
    """(V + 1,) first of each list."""
    position: I64
    """(P,) rising in a list."""
    query: I64
    """(V,) one of those whose list it is."""
    of_query: I64
    """(Q,)."""
    choices: tuple[Choices, ...]
    """Of the shared lists."""


def listed(found: Found, groups: list[I64], queries: int) -> Lists:
    """Lists of what was found, shared by these groups of queries; ``queries``: padding included, which finds nothing."""
    counts = np.zeros(queries, np.int64)
    counts[: len(found.at) - 1] = np.diff(found.at)
    shared = [_union(found, group, counts[group]) for group in groups]
    alone = np.setdiff1d(np.arange(queries), np.concatenate([np.zeros(0, np.int64), *groups]))
    of_query = np.empty(queries, np.int64)
    for number, group in enumerate(groups):
        of_query[group] = number
    of_query[alone] = len(groups) + np.arange(len(alone))
    begin = np.append(found.at, np.full(queries + 1 - len(found.at), found.at[-1]))
    position = [union for union, _ in shared] + [found.position[places_from(begin[alone], counts[alone])]]
    lengths = np.concatenate([[len(union) for union, _ in shared], counts[alone]]).astype(np.int64)
    query = np.concatenate([np.array([group[0] for group in groups], np.int64), alone])
    choices = tuple(choice for _, choice in shared)
    return Lists(np.concatenate([[0], np.cumsum(lengths)]), np.concatenate(position), query, of_query, choices)


def _union(found: Found, group: I64, counts: I64) -> tuple[I64, Choices]:
    """Every position that a group found, rising, and which of them each of its queries did."""
    position = found.position[places_from(found.at[group], counts)]
    first = int(position.min(initial=np.iinfo(np.int64).max)) if len(position) else 0
    there = np.zeros(int(position.max(initial=first)) - first + 1, bool)
    there[position - first] = True
    number = np.cumsum(there) - 1
    union = np.flatnonzero(there)[: len(position)] + first
    return union, Choices(group, len(union), np.concatenate([[0], np.cumsum(counts)]), number[position - first])


@dataclass(frozen=True)
class Rows:
    """Rows beside a pass's own (P): those that were picked, list by list, then any that travel beside them."""

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


def beside(passed: Pass, lists: Lists, rows: Rows, items: U64, shift: bool) -> Pass:
    """The pass with each list's rows before the window of its queries; ``shift``: each brings its previous row.

    ``items`` (V, F): ids of the items picked, where they are compared.
    """
    own, count = passed.views, len(passed.views.time)
    entries, bounds = _spread(lists.at, own.begin[lists.query], own.end[lists.query], count)
    previous, source = np.full(len(entries), -1), entries
    if shift:
        before = np.concatenate([own.previous, np.where(rows.previous < 0, -1, rows.previous + count)])[entries]
        # Previous rows come after all others, where no query looks.
        source = np.concatenate([entries, np.maximum(before, 0)])
        previous = np.concatenate([np.where(before < 0, -1, len(entries) + np.arange(len(entries))), previous])

    def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second])[source]

    item = both(passed.item_of_row, passed.items.count + rows.item)
    views = Views(
        both(own.time, rows.time),
        both(own.known, rows.known),
        both(own.outcome, rows.outcome),
        previous,
        both(own.place, rows.position),
        bounds[:-1][lists.of_query],
        bounds[1:][lists.of_query],
        own.asked,
        np.concatenate([passed.items.ids, items])[item] if own.query_ids.size else own.row_ids,
        own.query_ids,
    )
    return replace(
        passed,
        item_of_row=item,
        views=views,
        work=replace(plan_work(views, lists.of_query, bounds), choices=lists.choices),
        state_of_row=both(passed.state_of_row, rows.state_of_row),
    )


@nb.njit(cache=True, nogil=True)
def _spread(at: I64, begin: I64, end: I64, count: int) -> tuple[I64, I64]:
    """For each list its picked rows, numbered from ``count`` on, then its window; and where each list's begin, (V + 1,)."""
    bounds = np.zeros(len(begin) + 1, np.int64)
    for k in range(len(begin)):
        bounds[k + 1] = bounds[k] + at[k + 1] - at[k] + end[k] - begin[k]
    out = np.empty(bounds[-1], np.int64)
    for k in range(len(begin)):
        picked = at[k + 1] - at[k]
        for i in range(picked):
            out[bounds[k] + i] = count + at[k] + i
        for j in range(begin[k], end[k]):
            out[bounds[k] + picked + j - begin[k]] = j
    return out, bounds
