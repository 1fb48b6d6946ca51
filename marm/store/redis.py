"""Rings in Redis or Valkey, one server or a cluster: each user is one hash, in chunks of 62 rows.

    NAME:{user}      "m"    -> next, states_from, seen, the cut that made it so, and the first three before that; and their sum
                     "f12"  -> facts [62 * 12, 62 * 13), each row with its sum, as many as there are
                     "s12"  -> states, likewise
    NAME:cut:{tag}          -> the last cut that is whole; in a cluster one for each 256 slots, written after all rows
    NAME:about              -> the layout as JSON, and which generation serves: keys of a later one begin with NAME:number:

A user changes in one step (a script), so it is read as it was before a cut or after it. An append that was stopped half way
is done again, and passes over those who have the cut already. A node does things in the order in which it was asked, and so
do its replicas, and it takes a marker only if it is of the lineage that took the rows: so one that holds a cut's marker holds
its rows, and the least marker says what is whole.
"""

from functools import partial

import numpy as np

from marm.errors import LayoutError, StoreError
from marm.store.base import Holding, Layout, Rows, Space, StoreStats
from marm.store.redis_about import About
from marm.store.redis_info import space_of, told
from marm.store.redis_link import SERVING, TRAINING, Link
from marm.store.redis_plan import Plan
from marm.store.redis_reads import AT_ONCE, Reads
from marm.store.redis_rows import CUT, FROM, NEXT, SEEN, WAS_NEXT, slices_of
from marm.store.redis_scripts import MARK_SHA, STANDING_SHA
from marm.store.redis_slots import tags
from marm.store.redis_url import Address
from marm.store.rings import difference, stats_of
from marm.types import I64, U64, Bool

_METAS_AT_ONCE = 4096
_PASSED = 3_600_000
"""Milliseconds that a generation which serves no more is left to those who read it."""


class RedisStore(Reads):
    """The contract of ``Store`` over servers that several processes read and one appends to."""

    durable = True

    def __init__(
        self,
        address: Address,
        layout: Layout,
        readonly: bool = False,
        ttl: float = 0.0,
        generation: int | None = None,
    ) -> None:
        """Open or make the store, or a ``generation`` of it that is to take over.

        ``ttl``: seconds of the clock that a user is kept after an append, 0: for ever. Errors: StoreError where no server
        answers or one may evict, LayoutError for another layout's, FolderError for none.
        """
        self.layout, self.address, self.readonly, self.ttl = layout, address, readonly, ttl
        self.damaged, self.gone = set[int](), set[int]()
        self._name = address.name.encode() + b":"
        self._link = Link(address, SERVING if readonly else TRAINING)
        try:
            about = self._guard()
            self._settle(about if generation is None else About(layout, generation))
            self._applied = self._last()
        except BaseException:
            self.close()
            raise

    def _settle(self, about: About) -> None:
        """Be that generation."""
        number = about.generation
        self.generation, self._offset = f"{number:08d}", about.offset
        self._prefix = self._prefix_of(number)
        marks = tags() if self._link.is_cluster else [b"0"]
        self._markers = [b"%bcut:{%b}" % (self._prefix, mark) for mark in marks]

    def _prefix_of(self, generation: int) -> bytes:
        return self._name + (b"%d:" % generation if generation else b"")

    def _guard(self) -> About:
        if not self.readonly:
            self._refuse_eviction()
            self._ask([("SETNX", self._name + b"about", About(self.layout).text())])
        about = self._about()
        differ = difference(about.layout, self.layout)
        if differ:
            raise LayoutError(self.address.url, *differ)
        return about

    def _about(self) -> About:
        return About.of(self._ask([("GET", self._name + b"about")])[0], self.address.url)

    def serving(self) -> str:
        """The generation that serves now."""
        return f"{self._about().generation:08d}"

    def beside(self, keep: bool = False) -> "RedisStore":
        """The generation after this one, empty; ``keep``: with what an earlier try put into it."""
        fresh = RedisStore(self.address, self.layout, ttl=self.ttl, generation=int(self.generation) + 1)
        if not keep:
            fresh.clear()
        return fresh

    def take_over(self, cut: int) -> None:
        """Let this generation serve from now on, as the one of a cut; who still reads the other has an hour to notice."""
        last, lineages = self._standing()
        last = max(last + 1, cut)
        self._mark(last, lineages)
        if self._standing()[0] < last:
            raise StoreError(f"{self.address.url}: servers changed while a store took over: do it again")
        about = About(self.layout, int(self.generation), last - cut)
        self._ask([("SET", self._name + b"about", about.text())], confirm=True)
        self._settle(about)
        for keys in self._link.scan(self._name + b"*"):
            passed = [key for key in keys if not key.startswith((self._prefix, self._name + b"about"))]
            self._ask([("PEXPIRE", key, _PASSED) for key in passed])

    @property
    def note(self) -> str | None:
        """What whoever fills it has noted."""
        held = self._ask([("GET", self._prefix + b"note")])[0]
        return held.decode() if held is not None else None

    @note.setter
    def note(self, text: str) -> None:
        self._ask([("SET", self._prefix + b"note", text)], confirm=True)

    def _refuse_eviction(self) -> None:
        for about in self._link.everywhere("INFO", "memory"):
            policy = told(about, b"maxmemory_policy")
            if policy not in (b"", b"noeviction"):
                raise StoreError(
                    f"{self.address.url}: may evict what it holds (maxmemory-policy {policy.decode()}): "
                    "set it to noeviction, and memory.budget to what fits"
                )

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay).

        Of a user whose bytes are wrong nothing is kept, these rows neither; ``damaged`` names it, and ``gone`` one that is
        not there and whose rows do not begin at 0. Errors: StoreError, after which some users may have the cut already: it
        is to be appended again, by this process or the next.
        """
        number = cut + self._offset
        last, lineages = self._standing()
        self.gone.clear()
        while number > last:
            self._write(rows, number)
            self._mark(number, lineages)
            # What a node had taken before it was promoted or began anew is not there: once more, then.
            last, lineages = self._standing()
        self._applied = last

    def _write(self, rows: Rows, cut: int) -> None:
        """Give every user that does not have the cut its rows."""
        meta, there = self._held(rows.users)
        anew = np.isin(rows.users, rows.forgotten)
        lost = ~anew & np.isin(rows.users, np.fromiter(self.damaged, np.uint64))
        begins = rows.first <= np.maximum(rows.first + rows.counts - self.layout.facts_kept, 0)
        gone = ~there & ~anew & ~lost & ~begins
        todo = ~lost & ~gone & ~(there & (meta[:, CUT] >= cut))
        meta[anew], there[anew] = 0, False
        deleted = np.union1d(np.setdiff1d(rows.forgotten, rows.users), rows.users[lost])
        written = rows if todo.all() else rows.of(todo)
        plan = Plan.of(written, meta[todo], there[todo], anew[todo], cut, self.layout)
        self._delete(deleted)
        self.gone |= set(rows.users[gone].tolist())
        self.damaged -= set(rows.forgotten.tolist())
        for some in slices_of(plan.sizes, AT_ONCE):
            self._ask(plan.commands(self._keys(written.users[some]), some, int(1000 * self.ttl)), confirm=True)

    def _standing(self) -> tuple[int, list[bytes]]:
        """The last cut, and the lineage of each marker's node. Errors: ``StoreError`` where servers have gone back."""
        if self.readonly:
            raise ValueError(f"{self.address.url} was opened to read only")
        found = self._ask([("EVALSHA", STANDING_SHA, 1, key) for key in self._markers])
        last = _least([cut for cut, _ in found])
        if last < self._applied:
            before, now = self._cut(self._applied), self._cut(last)
            raise StoreError(
                f"{self.address.url}: has gone back from cut {before} to {now}, so a server lost what it had acknowledged: "
                "`marm resume` writes it again"
            )
        return last, [lineage for _, lineage in found]

    def _mark(self, cut: int, lineages: list[bytes]) -> None:
        """Say that a cut is whole, but on nodes of another lineage than its rows were written to."""
        asked = zip(self._markers, lineages, strict=True)
        self._ask([("EVALSHA", MARK_SHA, 1, key, cut, lineage) for key, lineage in asked], confirm=True)

    def _held(self, users: U64) -> tuple[I64, Bool]:
        """Metas of users, and who has one."""
        parts = []
        for some in slices_of(np.ones(len(users), np.int64), _METAS_AT_ONCE):
            parts.append(self._steadily(users[some], partial(self._read_metas, users[some])))
        return np.concatenate([meta for meta, _ in parts]), np.concatenate([there for _, there in parts])

    def _read_metas(self, users: U64) -> tuple[tuple[I64, Bool], Bool]:
        meta, there, wrong = self._parsed(users, self.metas(users))
        return (meta, there), wrong

    def forget(self, users: U64) -> None:
        """Forget users wholly, now."""
        self._standing()
        self._delete(users)
        number = int(self.generation)
        # What a rebuild has left, or has begun, holds them too.
        for other in {max(number - 1, 0), number + 1}:
            self._delete(users, self._prefix_of(other))
        self.damaged -= set(users.tolist())

    def _delete(self, users: U64, prefix: bytes = b"") -> None:
        self._ask([("UNLINK", key) for key in self._keys(users, prefix)], confirm=True)

    def last_cut(self) -> int:
        """Number of the last append that is whole; -1 before the first."""
        return self._cut(self._last())

    def _last(self) -> int:
        return _least(self._ask([("GET", key) for key in self._markers]))

    def _cut(self, number: int) -> int:
        """The cut that was written by a number."""
        return number - self._offset if number >= 0 else -1

    def holding(self) -> Holding:
        """Every user in the store, as of its last cut: who has a later one already is told as before it."""
        last, none = self._last(), np.zeros(0, np.uint64)
        users: U64 = np.unique(np.concatenate([none, *(self._users_of(keys) for keys in self._link.scan(self._every))]))
        meta, there = self._held(users)
        later = meta[:, CUT] > last
        ring = np.where(later[:, None], meta[:, WAS_NEXT : WAS_NEXT + 3], meta[:, NEXT : SEEN + 1])
        there &= ring[:, NEXT] >= 0
        return Holding(users[there], *(ring[there, column].copy() for column in (NEXT, FROM, SEEN)))

    @property
    def _every(self) -> bytes:
        return self._prefix + b"{*}"

    @staticmethod
    def _users_of(keys: list[bytes]) -> U64:
        return np.array([int(key[-17:-1], 16) for key in keys], np.uint64)

    def stats(self) -> StoreStats:
        """Users, rows and bytes."""
        return stats_of(self.holding(), self.layout)

    def space(self) -> Space:
        """Bytes that all primaries use and take, of whatever lies there; replicas take the same again."""
        return space_of(self._link.everywhere("INFO", "memory"))

    def clear(self) -> None:
        """Forget every user; the next cut number may be any."""
        self._standing()
        # The markers first: nobody takes what is half cleared for a cut.
        self._ask([("DEL", key) for key in (*self._markers, self._prefix + b"note")], confirm=True)
        self._applied = -1
        for keys in self._link.scan(self._every):
            self._ask([("UNLINK", key) for key in keys])
        self.damaged.clear()

    def close(self) -> None:
        """Close the connections; the store is not used after."""
        self._link.close()


def _least(cuts: list[bytes | None]) -> int:
    return min(-1 if cut is None else int(cut) for cut in cuts)
