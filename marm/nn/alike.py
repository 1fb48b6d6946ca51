"""Which ids queries that share a view have in common with its rows: few pairs of all, so they are listed, once for all layers.

a query's logits   null | rows that all read . . . . | its own choices . .      place: 0, 1, ... in this line
"""

from dataclasses import dataclass

import numba as nb
import numpy as np

from marm.nn.choices import Choices
from marm.nn.views import Views
from marm.types import I64, U64


@dataclass(frozen=True)
class Alike:
    """Every id that one of G queries and a row that it reads have both, or the row before that."""

    at: I64
    """(G + 1,) first of each query."""
    place: I64
    """(E,) where the row's logit stands."""
    kind: I64
    """(E,) kind of id; those of the row before come after all of the row's own."""


def none_alike(queries: int) -> Alike:
    """Nobody compares ids."""
    none = np.zeros(0, np.int64)
    return Alike(np.zeros(queries + 1, np.int64), none, none)


def alike(views: Views, choices: Choices) -> Alike:
    """What the queries of ``choices`` and the rows of the view that they share have in common."""
    if not views.query_ids.size:
        return none_alike(len(choices.queries))
    asked_GF = views.query_ids[choices.queries]
    ids_XN = _ids_of(views, int(choices.queries[0]))
    all_read_XM = ids_XN[:, choices.rows :]
    order_XM = np.argsort(all_read_XM, 1)
    # Sorted, the rows that have a query's id are one run.
    lines = list(zip(np.take_along_axis(all_read_XM, order_XM, 1), np.tile(asked_GF.T, (2, 1)), strict=True))
    low_XG, high_XG = (np.stack([np.searchsorted(*line, side) for line in lines]) for side in ("left", "right"))
    return Alike(*_listed(low_XG, high_XG, order_XM, ids_XN, asked_GF, choices.at, choices.row))


def _ids_of(views: Views, query: int) -> U64:
    """Ids of the rows that a query sees, then of the rows before them: (2 F, N), 0 where there is none."""
    own_NF = views.row_ids[views.begin[query] : views.end[query]]
    previous = views.previous[views.begin[query] : views.end[query]]
    before_NF = np.where((previous >= 0)[:, None], views.row_ids[previous], np.uint64(0))
    return np.ascontiguousarray(np.concatenate([own_NF, before_NF], 1).T)


@nb.njit(cache=True, nogil=True)
def _listed(low: I64, high: I64, order: I64, ids: U64, asked: U64, at: I64, row: I64) -> tuple[I64, I64, I64]:
    """The runs [low, high) of rows that all read, and the choices compared one by one: as ``Alike`` has them."""
    queries, kinds = asked.shape
    most = (high - low).sum() + len(row) * len(ids)
    bounds, place, kind = np.zeros(queries + 1, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    total = 0
    for g in range(queries):
        for x in range(len(ids)):
            wanted = asked[g, x % kinds]
            if wanted != 0:
                for m in range(low[x, g], high[x, g]):
                    place[total], kind[total] = 1 + order[x, m], x
                    total += 1
                for c in range(at[g], at[g + 1]):
                    if ids[x, row[c]] == wanted:
                        place[total], kind[total] = 1 + order.shape[1] + c - at[g], x
                        total += 1
        bounds[g + 1] = total
    return bounds, place[:total].copy(), kind[:total].copy()
