"""A batch: who is asked about what, and which of it is live; and its rows laid out for attention."""

from dataclasses import dataclass, replace

import numba as nb
import numpy as np

from marm.data.events import Column, take
from marm.memory.memory import Recalled
from marm.mix import GOLDEN
from marm.nn.views import Views
from marm.store.rings import places_from
from marm.store.slots import SlotMap
from marm.types import I16, I64, U64, Bool


@dataclass(frozen=True)
class Batch:
    """Queries (Q) of some users' segments (B); live events are queries too. Order: as the stream came."""

    users: U64
    """(B,) each once, in order of appearance."""
    user_columns: dict[str, Column]
    """(B,) as of the segment's first query."""
    since: I64
    """(B,) what is recalled lies strictly before this time."""
    segment: I64
    """(Q,) not falling where a user is new."""
    item: U64
    item_columns: U64
    """(Q, C)."""
    time: I64
    context: dict[str, Column]
    """(Q,)."""
    live: Bool
    """(Q,) later queries of the same user see it: an exposure not yet remembered that enters histories."""
    known: I64
    """(Q,) of live ones: when the outcome is known."""
    outcome: I16
    """(Q,) of live ones."""

    def __len__(self) -> int:
        return len(self.segment)

    def begins(self) -> I64:
        """Time of each segment's first query, live ones included: when its rows are read (B,)."""
        begin = np.empty(len(self.users), np.int64)
        begin[self.segment[::-1]] = self.time[::-1]
        return begin

    def of_users(self, which: I64) -> tuple["Batch", I64]:
        """The batch of these users alone (places, rising), and which queries are theirs."""
        number = np.full(len(self.users), -1)
        number[which] = np.arange(len(which))
        queries = np.flatnonzero(number[self.segment] >= 0)
        share = replace(
            self.of_queries(queries),
            users=self.users[which],
            user_columns={name: take(column, which) for name, column in self.user_columns.items()},
            since=self.since[which],
            segment=number[self.segment[queries]],
        )
        return share, queries

    def of_queries(self, queries: I64) -> "Batch":
        """The batch of these queries alone (places, rising), of the same users."""
        return replace(
            self,
            segment=self.segment[queries],
            item=self.item[queries],
            item_columns=self.item_columns[queries],
            time=self.time[queries],
            context={name: take(column, queries) for name, column in self.context.items()},
            live=self.live[queries],
            known=self.known[queries],
            outcome=self.outcome[queries],
        )


def deal(batch: Batch, shares: int) -> list[tuple[Batch, I64]]:
    """Users dealt out in turn as they appear, so that what comes later moves nobody; each share and its queries."""
    shares = min(shares, len(batch.users))
    if shares <= 1:
        return [(batch, np.arange(len(batch)))]
    return [batch.of_users(np.arange(first, len(batch.users), shares)) for first in range(shares)]


def split(batch: Batch, shares: int) -> list[tuple[Batch, I64]]:
    """Targets of few users in runs of equal length, live events in every share: they are seen by all."""
    targets, live = np.flatnonzero(~batch.live), np.flatnonzero(batch.live)
    parts = [np.union1d(live, part) for part in np.array_split(targets, shares)]
    return [(batch.of_queries(part), part) for part in parts]


@dataclass(frozen=True)
class Layout:
    """Rows of a batch: recalled ones and live ones of each segment in order."""

    rows_at: I64
    """(B + 1,)."""
    views: Views
    state_of_row: I64
    """(R,) row of the block; -1 - q for one that query q makes; ``missing`` where there is no state."""
    item_of_row: I64
    item_of_query: I64
    sample: I64
    """(U,) for each distinct item, one place of (rows, then queries) that shows it."""


def lay_out(batch: Batch, recalled: Recalled, window: int, hidden_until_known: bool, missing: int) -> Layout:
    """Merge recalled and live rows, find every query's view, and number the distinct items in order of appearance."""
    live = np.flatnonzero(batch.live)
    live = live[np.argsort(batch.segment[live], kind="stable")]
    live_counts = np.bincount(batch.segment[live], minlength=len(batch.users))
    rows_at = np.concatenate([[0], np.cumsum(recalled.counts + live_counts)])
    old = places_from(rows_at[:-1], recalled.counts)
    new = places_from(rows_at[:-1] + recalled.counts, live_counts)

    def merge(remembered: np.ndarray, made: np.ndarray) -> np.ndarray:
        out = np.empty(rows_at[-1], made.dtype)
        out[old], out[new] = remembered, made
        return out

    facts = recalled.facts
    time, known = merge(facts["time"], batch.time[live]), merge(facts["known"], batch.known[live])
    if hidden_until_known:
        # A filtered history: an event enters when its outcome, which the filter reads, is known, and after earlier ones.
        running_max(known, rows_at)
    begin, end = find_views(time, known, rows_at, batch.segment, batch.time, window, hidden_until_known)
    previous = np.arange(rows_at[-1]) - 1
    previous[rows_at[:-1][np.diff(rows_at) > 0]] = -1
    place, outcome = places_from(recalled.first, np.diff(rows_at)), merge(facts["outcome"], batch.outcome[live])
    views = Views(time, known, outcome, previous, place, begin, end, batch.time)
    state = merge(np.where(recalled.there, recalled.at, missing), -1 - live)
    row_keys = merge(item_keys(facts["item"], facts["columns"]), item_keys(batch.item[live], batch.item_columns[live]))
    keys, order = scan(row_keys, item_keys(batch.item, batch.item_columns), rows_at, batch.segment)
    distinct = SlotMap(len(keys))
    number = np.empty(len(keys), np.int64)
    number[order] = distinct.insert(keys)
    sample = np.empty(len(distinct), np.int64)
    sample[number[::-1]] = np.arange(len(keys))[::-1]
    return Layout(rows_at, views, state, number[: len(row_keys)], number[len(row_keys) :], sample)


def item_keys(item: U64, columns: U64) -> U64:
    """One key for an item as it was logged: the same item in another category is another thing to embed."""
    key = np.ascontiguousarray(item)
    for c in range(columns.shape[1]):
        key = (key ^ (columns[:, c] >> np.uint64(1))) * GOLDEN
    return key


@nb.njit(cache=True, nogil=True)
def running_max(known: I64, rows_at: I64) -> None:
    """Make ``known`` not falling within each segment, in place."""
    for b in range(len(rows_at) - 1):
        for j in range(rows_at[b] + 1, rows_at[b + 1]):
            known[j] = max(known[j], known[j - 1])


@nb.njit(cache=True, nogil=True)
def find_views(
    time: I64, known: I64, rows_at: I64, segment: I64, asked: I64, window: int, hidden_until_known: bool
) -> tuple[I64, I64]:
    """V(k): the last ``window`` rows of the segment with t_j < t_k (design: what a target sees)."""
    begin, end = np.empty_like(asked), np.empty_like(asked)
    for k in range(len(asked)):
        first = rows_at[segment[k]]
        low, high = first, rows_at[segment[k] + 1]
        while low < high:
            middle = (low + high) // 2
            if time[middle] < asked[k] and (not hidden_until_known or known[middle] <= asked[k]):
                low = middle + 1
            else:
                high = middle
        begin[k], end[k] = max(first, low - window), low
    return begin, end


@nb.njit(cache=True, nogil=True)
def scan(row_keys: U64, query_keys: U64, rows_at: I64, segment: I64) -> tuple[U64, I64]:
    """Keys in order of appearance (a user's rows, then queries), and where in (rows, queries) each stands."""
    total = len(row_keys) + len(query_keys)
    keys, order = np.empty(total, np.uint64), np.empty(total, np.int64)
    i, seen = 0, 0
    for k in range(len(query_keys)):
        while seen <= segment[k]:
            for j in range(rows_at[seen], rows_at[seen + 1]):
                keys[i], order[i] = row_keys[j], j
                i += 1
            seen += 1
        keys[i], order[i] = query_keys[k], len(row_keys) + k
        i += 1
    while seen < len(rows_at) - 1:
        for j in range(rows_at[seen], rows_at[seen + 1]):
            keys[i], order[i] = row_keys[j], j
            i += 1
        seen += 1
    return keys, order
