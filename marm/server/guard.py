"""Stands before a store that may fail: what cannot be read is answered from facts at hand, without states, and said so."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Event, Lock, RLock, Thread
from typing import TypeVar

import numpy as np

from marm.server.ahead import Ahead
from marm.store import Store
from marm.store.asof import AsOf
from marm.store.base import Facts, Holding, Layout, Rows, Space, StoreStats
from marm.store.whole import read_whole
from marm.types import I64, U8, U64, Bool

R = TypeVar("R")

_RETRY = 0.5
"""Seconds between two tries to open a store that failed."""
_ENTRY = 400
"""Bytes that keeping a user at hand takes besides its rows."""


class AtHand:
    """Raw history of users that were served lately, for days when the store is gone; survives a new cut. Any thread may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._users: OrderedDict[int, tuple[int, U8]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._users)

    def keep(self, users: U64, found: Facts) -> None:
        """Note what was read of users, as far as it is their newest rows."""
        ends = np.cumsum(found.counts)
        with self._lock:
            for i in np.flatnonzero(found.first + found.counts == found.next).tolist():
                self._drop(int(users[i]))
                rows = found.facts[ends[i] - found.counts[i] : ends[i]].copy()
                if len(rows):
                    self._users[int(users[i])] = int(found.first[i]), rows
                    self._bytes += rows.nbytes + _ENTRY
            while self._bytes > self._most:
                self._drop(next(iter(self._users)))

    def clear(self) -> None:
        """Let go of everybody."""
        with self._lock:
            self._users.clear()
            self._bytes = 0

    def _drop(self, user: int) -> None:
        held = self._users.pop(user, None)
        self._bytes -= held[1].nbytes + _ENTRY if held else 0

    def of(self, users: U64, layout: Layout, count: int) -> Facts:
        """What is at hand of users, as facts without states."""
        nothing = (0, np.zeros((0, layout.facts_bytes), np.uint8))
        with self._lock:
            held = [self._users.get(user, nothing) for user in users.tolist()]
        rows = [facts[-count:] for _, facts in held]
        next_ = np.array([first + len(facts) for first, facts in held], np.int64)
        counts = np.array([len(part) for part in rows], np.int64)
        flat = np.concatenate([nothing[1], *rows])
        return Facts(next_, next_.copy(), next_ - counts, counts, flat)


class Guard:
    """A store to read that never raises; ``failed`` says whose answers are degraded.

    Nobody waits for a store that failed: a thread of its own opens it anew, and until then it is not asked.
    """

    def __init__(self, store: Store, at_hand: AtHand, reopen: Callable[[], Store], on_failure: Callable[[], None]):
        self.layout, self.durable, self.generation = store.layout, store.durable, store.generation
        self.store, self.at_hand = store, at_hand
        self._reopen, self._on_failure = reopen, on_failure
        self._holding, self._stats = store.holding(), store.stats()
        self._lock, self._closed = RLock(), Event()
        self._looking = Lock()
        """Held while somebody asks how much room there is, which no request waits for."""
        self.failed: dict[int, str] = {}
        """Users whose last reading failed, until that is told: ``raw`` where their facts were at hand, else ``none``."""
        self.broken = False
        self.ahead: Ahead | None = None
        """Users that ``bring`` has read; None where the store is read in no time."""

    def bring(self, users: U64) -> None:
        """Read users (each once) whole before their turn; those that cannot be read fail when it comes."""
        with self._lock:
            about = self.layout.states_kept, self.layout.state_bytes
            ends = self.store.ends(users) if isinstance(self.store, AsOf) else None
            found = self._read(lambda store: read_whole(store, users, *about, ends))
            if found and self.ahead:
                self._note(users, found[0])
                self.ahead.keep(users, *found)

    def _note(self, users: U64, found: Facts) -> None:
        """Their facts were read."""
        self.at_hand.keep(users, found)
        for user in users.tolist():
            self.failed.pop(user, None)

    def _read(self, read: Callable[[Store], R]) -> R | None:
        """What the store says; None where it fails, or did and is not open again."""
        with self._lock:
            if self.broken or self._closed.is_set():
                return None
            try:
                return read(self.store)
            except Exception:
                # Whatever a store can come up with: a request must not fail by it.
                self._on_failure()
                self.broken = True
                Thread(target=self._mend, name="mend", daemon=True).start()
                return None

    def _mend(self) -> None:
        """Open the store anew, until that is possible."""
        while not self._closed.wait(_RETRY):
            if self._opened():
                return
            self._on_failure()

    def _opened(self) -> bool:
        if not self.durable:
            self.broken = False
            return True
        with self._looking, self._lock:
            self.store.close()
        try:
            fresh = AsOf(self._reopen(), self._holding)
        except Exception:
            return False
        with self._lock:
            if self._closed.is_set():
                fresh.close()
            else:
                self.store, self.broken = fresh, False
        return True

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest facts; those at hand, without states, where the store fails."""
        held = self.ahead.facts(users, count) if self.ahead and before is None else None
        if held is not None:
            return held
        with self._lock:
            found = self._read(lambda store: store.read_facts(users, count, before))
            if found is None:
                return self._without(users, count)
            self._note(users, found)
            return found

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States; none of them there where the store fails."""
        held = self.ahead.states(users, first, counts) if self.ahead else None
        if held is not None:
            return held
        with self._lock:
            if self.failed.keys().isdisjoint(users.tolist()):
                found = self._read(lambda store: store.read_states(users, first, counts))
                if found is not None:
                    return found
                self._without(users, 0)
        total = int(counts.sum())
        return np.zeros((total, self.layout.state_bytes), np.uint8), np.zeros(total, bool)

    def glance(self, user: int, count: int, before: int) -> Facts | None:
        """A user's newest facts before a time for those who only look; None where the store fails."""
        return self._read(lambda store: store.read_facts(np.array([user], np.uint64), count, np.array([before])))

    def last_times(self, users: U64) -> I64:
        """Time of each user's newest remembered event (n,); the least number where there is none, or no store."""
        found = self._read(lambda store: store.read_facts(users, 1))
        out = np.full(len(users), np.iinfo(np.int64).min)
        if found is not None and len(found.facts):
            out[found.counts > 0] = np.ascontiguousarray(found.facts[:, :8]).view(np.int64)[:, 0]
        return out

    def _without(self, users: U64, count: int) -> Facts:
        found = self.at_hand.of(users, self.layout, max(count, 1))
        for user, rows in zip(users.tolist(), found.counts.tolist(), strict=True):
            self.failed[user] = "raw" if rows else "none"
        return found

    @property
    def damaged(self) -> set[int]:
        """Users whose bytes were found wrong."""
        return self.store.damaged

    @property
    def gone(self) -> set[int]:
        """Nobody: it is not appended to."""
        return self.store.gone

    def append(self, rows: Rows, cut: int) -> None:
        """Not here."""
        raise ValueError("a server's store is read only")

    def forget(self, users: U64) -> None:
        """Not here."""
        raise ValueError("a server's store is read only")

    def serving(self) -> str:
        """Generation that serves now; its own where that cannot be found out."""
        with self._looking:
            try:
                return self.generation if self.broken else self.store.serving()
            except Exception:
                return self.generation

    def last_cut(self) -> int:
        """Number of the last append."""
        return self.store.last_cut()

    def holding(self) -> Holding:
        """Every user as of the cut."""
        return self._holding

    def stats(self) -> StoreStats:
        """Users, rows and bytes as of the cut."""
        return self._stats

    def space(self) -> Space:
        """Bytes where the store lies."""
        return self.store.space()

    def room(self) -> Space | None:
        """The same; None where that cannot be found out, which is no failure of a reading."""
        with self._looking:
            try:
                return None if self.broken else self.space()
            except Exception:
                return None

    def clear(self) -> None:
        """Not here."""
        raise ValueError("a server's store is read only")

    def close(self) -> None:
        """Give back the store."""
        with self._lock:
            self._closed.set()
            self.store.close()
