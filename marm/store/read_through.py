"""Rows of users read lately, kept in this process in front of servers: who has not changed is not sent again.

Each reading asks the servers for its users' metas, some 60 bytes each, which another append to the user always changes. Rows
are kept with the meta that came in the same step as they did, and are good while it is the user's: nobody has to be told what
a writer changed, and a new cut empties nothing but what it changed.
"""

from dataclasses import dataclass

import numpy as np

from marm.store.base import Facts, Holding, Rows, Space, StoreStats
from marm.store.near import Kept, Near
from marm.store.redis import RedisStore
from marm.store.redis_reads import Metas
from marm.store.redis_rows import FROM, NEXT, metas_of
from marm.store.rings import Bounds, state_windows
from marm.types import I64, U8, U64, Bool


@dataclass(frozen=True)
class _Windows:
    """Where the states asked for lie in what is kept of each user."""

    row: I64
    """(B,) row of the answer that the first of them is."""
    begin: I64
    """(B,) its place among those kept."""
    sizes: I64
    """(B,)."""
    there: Bool
    """(R,) whether each row of the answer is among them."""
    away: Bool
    """(B,) whose are not kept."""

    def of(self, good: list[Kept | None], away: Bool, counts: I64, rows: U8, there: Bool) -> tuple[U8, Bool]:
        """The answer, with rows that were read of users ``away``."""
        if away.all():
            return rows, there
        out, here = np.empty((len(self.there), rows.shape[1]), np.uint8), self.there.copy()
        read = np.repeat(away, counts)
        out[read], here[read] = rows, there
        for i in np.flatnonzero(~away).tolist():
            kept, begin, size = good[i], int(self.begin[i]), int(self.sizes[i])
            assert kept is not None
            out[self.row[i] : self.row[i] + size] = kept.states[begin : begin + size]
        out[~here] = 0
        return out, here


class ReadThrough:
    """The contract of ``Store`` over servers, with users at hand that have not changed since they were read."""

    def __init__(self, store: RedisStore, near: Near) -> None:
        """``near``: kept for this store alone; it may be opened several times."""
        self.layout, self.durable, self.generation = store.layout, store.durable, store.generation
        self.damaged, self.gone = store.damaged, store.gone
        self._store, self._near = store, near
        self._mark = store.generation.encode()
        """Before the metas: those of another generation say nothing of this one."""

    def _good(self, users: U64) -> list[Kept | None]:
        """What is kept of users and still holds: one short question about those of whom something is kept."""
        held = self._near.find(users.tolist())
        known = [i for i, kept in enumerate(held) if kept and int(users[i]) not in self.damaged]
        now = dict(zip(known, self._store.metas(users[known]), strict=True))
        return [kept if kept and kept.meta == self._marked(now.get(i)) else None for i, kept in enumerate(held)]

    def _marked(self, meta: bytes | None) -> bytes | None:
        return None if meta is None else self._mark + meta

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        good = self._good(users)
        spans = self._spans(good, count, before)
        away = np.array([span is None for span in spans], bool)
        self._near.note(int((~away).sum()))
        found, metas = self._store.facts_and_metas(users[away], count, before if before is None else before[away])
        self._keep_facts(users[away], found, metas)
        return _facts_of(good, spans, away, found)

    def _spans(self, good: list[Kept | None], count: int, before: I64 | None = None) -> list[tuple[int, int] | None]:
        """Where the newest facts lie in what is kept of each user; None where it does not have them."""
        times: list[int | None] = [None] * len(good) if before is None else before.tolist()
        both = zip(good, times, strict=True)
        return [kept.span(count, time, self._floor(kept)) if kept else None for kept, time in both]

    def _floor(self, kept: Kept) -> int:
        return max(kept.next - self.layout.facts_kept, 0)

    def _keep_facts(self, users: U64, found: Facts, metas: Metas) -> None:
        """Keep those that reach up to the next position."""
        none, ends = np.zeros((0, self.layout.state_bytes), np.uint8), np.cumsum(found.counts)
        for i in np.flatnonzero(found.first + found.counts == found.next).tolist():
            meta, user = self._marked(metas[i]), int(users[i])
            if meta is not None and user not in self.damaged:
                facts = found.facts[ends[i] - found.counts[i] : ends[i]].copy()
                self._near.keep(user, Kept(meta, int(found.next[i]), int(found.states_from[i]), facts, none))

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        good = self._good(users)
        windows = self._windows(good, first, counts)
        away = windows.away
        self._near.note(int((~away).sum()))
        rows, there, metas = self._store.states_and_metas(users[away], first[away], counts[away])
        self._keep_states(users[away], first[away], counts[away], rows, metas)
        return windows.of(good, away, counts, rows, there)

    def read_both(self, users: U64, count: int, first: I64, counts: I64) -> tuple[Facts, U8, Bool]:
        """The newest ``count`` facts, and states at these positions, of who has changed by one round trip."""
        good = self._good(users)
        spans, windows = self._spans(good, count), self._windows(good, first, counts)
        away = windows.away | np.array([span is None for span in spans], bool)
        self._near.note(int((~away).sum()))
        asked = users[away], first[away], counts[away]
        (found, was), (rows, there, metas) = self._store.both_and_metas(asked[0], count, asked[1], asked[2])
        self._keep_facts(asked[0], found, was)
        self._keep_states(*asked, rows, metas)
        return _facts_of(good, spans, away, found), *windows.of(good, away, counts, rows, there)

    def _windows(self, good: list[Kept | None], first: I64, counts: I64) -> _Windows:
        begin = np.array([kept.next - len(kept.states) if kept else 0 for kept in good], np.int64)
        row, low, upto, there = state_windows(_bounds(good), self.layout, first, counts)
        away = np.array([kept is None for kept in good], bool) | ((low < begin) & (low < upto))
        return _Windows(row, low - begin, upto - low, there, away)

    def _keep_states(self, users: U64, first: I64, counts: I64, rows: U8, metas: Metas) -> None:
        """Keep those that reach up to the next position."""
        meta, _, wrong = metas_of(users, metas)
        bounds = Bounds(meta[:, NEXT].copy(), meta[:, FROM].copy())
        row, low, upto, _ = state_windows(bounds, self.layout, first, counts)
        none = np.zeros((0, self.layout.facts_bytes), np.uint8)
        for i in np.flatnonzero(~wrong & (upto == bounds.next)).tolist():
            raw, user = self._marked(metas[i]), int(users[i])
            if raw is not None and user not in self.damaged:
                states = rows[row[i] : row[i] + upto[i] - low[i]].copy()
                self._near.keep(user, Kept(raw, int(bounds.next[i]), int(bounds.states_from[i]), none, states))

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay)."""
        self._store.append(rows, cut)

    def forget(self, users: U64) -> None:
        """Forget users wholly, now."""
        self._store.forget(users)

    def serving(self) -> str:
        """Generation that serves now."""
        return self._store.serving()

    def last_cut(self) -> int:
        """Number of the last append that is whole; -1 before the first."""
        return self._store.last_cut()

    def holding(self) -> Holding:
        """Every user in the store, as of its last cut."""
        return self._store.holding()

    def stats(self) -> StoreStats:
        """Users, rows and bytes."""
        return self._store.stats()

    def space(self) -> Space:
        """Bytes where the servers keep it; what is kept here is not in it."""
        return self._store.space()

    def clear(self) -> None:
        """Forget every user; the next cut number may be any."""
        self._near.clear()
        self._store.clear()

    def close(self) -> None:
        """Close the connections; what is kept stays, for the next store that is opened with it."""
        self._store.close()


def _facts_of(good: list[Kept | None], spans: list[tuple[int, int] | None], away: Bool, found: Facts) -> Facts:
    """The answer, with facts that were read of users ``away``."""
    if away.all():
        return found
    numbers = np.empty((4, len(good)), np.int64)
    numbers[:, away] = found.next, found.states_from, found.first, found.counts
    rows, ends = iter(np.split(found.facts, np.cumsum(found.counts)[:-1])), []
    for i, (kept, span) in enumerate(zip(good, spans, strict=True)):
        if away[i] or kept is None or span is None:
            ends.append(next(rows))
            continue
        first, upto = span
        numbers[:, i] = kept.next, kept.states_from, first, upto - first
        begin = kept.next - len(kept.facts)
        ends.append(kept.facts[first - begin : upto - begin])
    return Facts(numbers[0], numbers[1], numbers[2], numbers[3], np.concatenate(ends))


def _bounds(good: list[Kept | None]) -> Bounds:
    next_ = np.array([kept.next if kept else 0 for kept in good], np.int64)
    return Bounds(next_, np.array([kept.states_from if kept else 0 for kept in good], np.int64))
