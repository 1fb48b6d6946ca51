"""Where rings begin and end, and what a batch of rows does to that: the arithmetic that every store shares."""

from dataclasses import dataclass, fields

import numpy as np
from numba import njit

from marm.store.base import Holding, Layout, Rows, StoreStats
from marm.types import I64, Bool


@dataclass(frozen=True)
class Bounds:
    """The rings of users: each (B,)."""

    next: I64
    states_from: I64

    def facts_floor(self, layout: Layout) -> I64:
        """First position whose facts are kept."""
        return np.maximum(self.next - layout.facts_kept, 0)

    def states_floor(self, layout: Layout) -> I64:
        """First position whose state is kept."""
        return np.maximum(self.states_from, self.next - layout.states_kept)

    def after(self, rows: Rows, layout: Layout) -> "Bounds":
        """The bounds once the rows are appended; ValueError for rows that break the contract."""
        _check_shapes(rows, layout)
        end = rows.first + rows.counts
        # Rows that fill a whole ring of facts may begin anywhere: nothing before them is kept.
        _check(
            rows.first <= np.maximum(self.next, end - layout.facts_kept), rows, "first row is beyond the next position"
        )
        upto = np.maximum(self.next, end)
        _check(rows.states_from <= upto, rows, "states begin beyond the user's next position")
        return Bounds(upto, np.maximum(self.states_from, rows.states_from))


def _check_shapes(rows: Rows, layout: Layout) -> None:
    total = int(rows.counts.sum())
    for name, column, width in (
        ("facts", rows.facts, layout.facts_bytes),
        ("states", rows.states, layout.state_bytes),
    ):
        if column.shape != (total, width):
            raise ValueError(f"{name} to append have shape {column.shape}, wanted {(total, width)}")
    if len(np.unique(rows.users)) != len(rows.users):
        raise ValueError("a user stands twice in one append")
    _check((rows.first >= 0) & (rows.counts >= 0) & (rows.states_from >= 0), rows, "position or count is negative")


def _check(fine: np.ndarray, rows: Rows, mistake: str) -> None:
    if not fine.all():
        user = int(np.argmin(fine))
        raise ValueError(
            f"user {rows.users[user]}: {mistake} (first {rows.first[user]}, counts {rows.counts[user]}, "
            f"states_from {rows.states_from[user]})"
        )


def difference(held: Layout, asked: Layout) -> tuple[str, str] | None:
    """What tells two layouts apart, as text for each; None where they are equal."""
    names = [field.name for field in fields(Layout) if getattr(held, field.name) != getattr(asked, field.name)]
    if not names:
        return None
    return _text(held, names), _text(asked, names)


def _text(layout: Layout, names: list[str]) -> str:
    return ", ".join(f"{name} = {getattr(layout, name)}" for name in names)


def starts(counts: I64) -> I64:
    """Where each user's rows begin in a flat column: (B,)."""
    return np.cumsum(counts) - counts


def places_from(begin: I64, counts: I64) -> I64:
    """begin[b], begin[b] + 1, ... for each b, ``counts[b]`` of them."""
    places: I64 = np.arange(int(counts.sum())) + np.repeat(begin - starts(counts), counts)
    return places


def stats_of(held: Holding, layout: Layout) -> StoreStats:
    """Counts and bytes of the rows that can be read."""
    bounds = Bounds(held.next, held.states_from)
    rows = int((held.next - bounds.states_floor(layout)).sum())
    facts_rows = int((held.next - bounds.facts_floor(layout)).sum())
    size = rows * layout.state_bytes + facts_rows * layout.facts_bytes
    return StoreStats(len(held.users), rows, facts_rows, size)


def state_windows(bounds: Bounds, layout: Layout, first: I64, counts: I64) -> tuple[I64, I64, I64, Bool]:
    """Of users' runs of positions: where the part [low, upto) with states begins in the flat rows, and which have one.

    One compiled pass, since a read of one user is short enough to feel a dozen calls into numpy.
    """
    return _windows(first, counts, bounds.next, bounds.states_from, layout.states_kept)


@njit(cache=True, nogil=True)
def _windows(first: I64, counts: I64, next_: I64, states_from: I64, kept: int) -> tuple[I64, I64, I64, Bool]:
    row, low, upto = np.empty_like(first), np.empty_like(first), np.empty_like(first)
    there = np.zeros(counts.sum(), np.bool_)
    at = 0
    for i in range(len(first)):
        low[i] = max(first[i], states_from[i], next_[i] - kept)
        upto[i] = max(low[i], min(first[i] + counts[i], next_[i]))
        row[i] = at + low[i] - first[i]
        there[row[i] : row[i] + upto[i] - low[i]] = True
        at += counts[i]
    return row, low, upto, there
