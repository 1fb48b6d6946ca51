"""Which rows of a view that they share each query reads, where a search picked them for each.

a view's rows   u u u u u u | w w w w       u: what any of its queries picked, w: the window, which all read
query g reads     u     u u | w w w w       its choices, as numbers from the view's first row
"""

from dataclasses import dataclass

import numpy as np

from marm.types import I64


@dataclass(frozen=True)
class Choices:
    """Of one view and its queries (G)."""

    queries: I64
    """(G,)."""
    rows: int
    """How many rows there are to choose from, before those that all read."""
    at: I64
    """(G + 1,) first choice of each query."""
    row: I64
    """(C,) from the view's first row, rising."""


def no_choices(queries: I64) -> Choices:
    """All rows are read by all of these."""
    return Choices(queries, 0, np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int64))
