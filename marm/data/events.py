"""Events as the rest of the project sees them: arrays in stream order, ids hashed, times in microseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from marm.types import F32, I64, U64, Bool


@dataclass(frozen=True)
class Tags:
    """A ragged column: entry i's values are ``values[offsets[i]:offsets[i + 1]]``."""

    values: U64
    offsets: I64

    def take(self, rows: I64) -> "Tags":
        """The entries at ``rows``; -1 gives an empty one."""
        here = rows >= 0
        safe = np.where(here, rows, 0)
        begin = self.offsets[safe] if len(self.offsets) > 1 else np.zeros(len(rows), np.int64)
        counts = np.where(here, self.offsets[safe + 1] - begin, 0) if len(self.offsets) > 1 else begin
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        at = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begin, counts)
        return Tags(self.values[at], offsets)


Column = U64 | F32 | Tags
"""category: (n,) uint64, 0 missing; number: (n,) float32, NaN missing; vector: (n, W) float32; tags: ``Tags``."""


def take(column: Column, rows: I64) -> Column:
    """Entries of a column at ``rows``; -1 gives a missing one."""
    if isinstance(column, Tags):
        return column.take(rows)
    if not len(column):
        return np.zeros((len(rows), *column.shape[1:]), column.dtype)
    found = column[np.maximum(rows, 0)]
    found[rows < 0] = np.nan if column.dtype == np.float32 and column.ndim == 1 else 0
    return found


def join_columns(parts: Sequence[Column]) -> Column:
    """Columns of one kind, one after the other."""
    tags = [part for part in parts if isinstance(part, Tags)]
    if not tags:
        return np.concatenate([part for part in parts if not isinstance(part, Tags)])
    counts = np.concatenate([np.diff(part.offsets) for part in tags])
    return Tags(np.concatenate([part.values for part in tags]), np.concatenate([[0], np.cumsum(counts)]))


def absent(kind: str, rows: int, width: int) -> Column:
    """A column of a kind that is missing on every row."""
    match kind:
        case "tags":
            return Tags(np.zeros(0, np.uint64), np.zeros(rows + 1, np.int64))
        case "number":
            return np.full(rows, np.nan, np.float32)
        case "vector":
            return np.zeros((rows, width), np.float32)
    return np.zeros(rows, np.uint64)


@dataclass(frozen=True)
class Events:
    """Consecutive events of the stream, ordered by time, then by user within a time, then by row of the log."""

    start: int
    """Stream number of the first."""
    row: I64
    """Row of the log (0-based, over all its files, before ``data.where``)."""
    user: U64
    item: U64
    time: I64
    """Microseconds."""
    known: I64
    """When the outcome is known: time + feedback delay."""
    history: Bool
    """Whether the exposure enters histories."""
    labels: F32
    """(n, T); NaN where the outcome was not observed."""
    item_columns: dict[str, U64] = field(default_factory=dict)
    """Item features that stand in the log: categories only."""
    user_columns: dict[str, Column] = field(default_factory=dict)
    """User features that stand in the log."""
    context: dict[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Side:
    """A side file: one row for each id, ids sorted."""

    ids: U64
    columns: dict[str, Column]

    def find(self, ids: U64) -> I64:
        """Row of each id; -1 where the file has none."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)
