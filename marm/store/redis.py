"""Rings in Redis or Valkey, one server or a cluster: each user is one hash, in chunks of 62 rows.

    NAME:{user}      "m"    -> next, states_from, seen, the cut that made it so, and the first three before that; and their sum
                     "f12"  -> facts [62 * 12, 62 * 13), each row with its sum, as many as there are
                     "s12"  -> states, likewise
    NAME:cut:{tag}          -> the last cut that is whole; in a cluster one for each 256 slots, written after all rows
    NAME:about              -> the layout as JSON

A user changes in one step (a script), so it is read as it was before a cut or after it. An append that was stopped half way
is done again, and passes over those who have the cut already. A node does things in the order in which it was asked, and so
do its replicas, and it takes a marker only if it is of the lineage that took the rows: so one that holds a cut's marker holds
its rows, and the least marker says what is whole.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from marm.errors import FolderError, LayoutError, StoreError
from marm.store.base import Facts, Holding, Layout, Rows, Space, StoreStats
from marm.store.redis_info import space_of, told
from marm.store.redis_link import SERVING, TRAINING, Link
from marm.store.redis_plan import Plan
from marm.store.redis_rows import CHUNK, CUT, FROM, NEXT, SEEN, WAS_NEXT, Pieces, dealt, lay_out, metas_of, slices_of
from marm.store.redis_scripts import FACTS_SHA, MARK_SHA, STANDING_SHA
from marm.store.redis_slots import slot_of, tags
from marm.store.redis_talk import Command
from marm.store.redis_url import Address
from marm.store.rings import Bounds, difference, starts, state_windows, stats_of
from marm.store.sums import sealed_width, unseal
from marm.types import I64, U8, U64, Bool

_FACTS, _STATES = 0, 1
_FORMAT = 1
_AT_ONCE = 1 << 25
"""Bytes in one round trip."""
_METAS_AT_ONCE = 4096
Metas = list[bytes | None]
_READINGS = 3
"""Of rows whose sums are wrong, before their user is called damaged."""


class RedisStore:
    """The contract of ``Store`` over servers that several processes read and one appends to."""

    durable, generation = True, ""

    def __init__(self, address: Address, layout: Layout, readonly: bool = False, ttl: float = 0.0) -> None:
        """Open or make the store; ``ttl``: seconds of the clock that a user is kept after an append, 0: for ever.

        Errors: StoreError where no server answers or one may evict, LayoutError for another layout's, FolderError for none.
        """
        self.layout, self.address, self.readonly = layout, address, readonly
        self.damaged, self.gone = set[int](), set[int]()
        self._ttl = int(1000 * ttl)
        self._prefix = address.name.encode() + b":"
        self._link = Link(address, SERVING if readonly else TRAINING)
        try:
            self._guard()
            marks = tags() if self._link.is_cluster else [b"0"]
            self._markers = [b"%bcut:{%b}" % (self._prefix, mark) for mark in marks]
            self._applied = self.last_cut()
        except BaseException:
            self.close()
            raise

    def _guard(self) -> None:
        about = self._prefix + b"about"
        if not self.readonly:
            self._refuse_eviction()
            self._ask([("SETNX", about, json.dumps({"format": _FORMAT, **asdict(self.layout)}))])
        text = self._ask([("GET", about)])[0]
        if text is None:
            raise FolderError(f"{self.address.url}: holds no store: train into it first, or mend memory.url")
        held = json.loads(text)
        if held.pop("format") != _FORMAT:
            raise FolderError(f"{self.address.url}: written by another version of marm: name a new store in memory.url")
        differ = difference(Layout(**held), self.layout)
        if differ:
            raise LayoutError(self.address.url, *differ)

    def _refuse_eviction(self) -> None:
        for about in self._link.everywhere("INFO", "memory"):
            policy = told(about, b"maxmemory_policy")
            if policy not in (b"", b"noeviction"):
                raise StoreError(
                    f"{self.address.url}: may evict what it holds (maxmemory-policy {policy.decode()}): "
                    "set it to noeviction, and memory.budget to what fits"
                )

    def _ask(self, commands: list[Command], confirm: bool = False) -> list[Any]:
        """Answers to commands; the first key stands after the name, or as EVALSHA has it."""
        keys = [command[3] if command[0] == "EVALSHA" else command[1] for command in commands]
        return self._link.ask(commands, [slot_of(key) for key in keys], confirm)

    def _keys(self, users: U64) -> list[bytes]:
        return [b"%b{%016x}" % (self._prefix, user) for user in users.tolist()]

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        return self.facts_and_metas(users, count, before)[0]

    def facts_and_metas(self, users: U64, count: int, before: I64 | None = None) -> tuple[Facts, Metas]:
        """The same, and each user's meta as it was then."""
        width = sealed_width(self.layout.facts_bytes) * min(count, self.layout.facts_kept)
        parts: list[tuple[Facts, Metas]] = []
        for some in slices_of(np.full(len(users), width), _AT_ONCE):
            times = before if before is None else before[some]
            parts.append(self._steadily(users[some], partial(self._facts, users[some], count, times)))
        columns = zip(*(vars(facts).values() for facts, _ in parts), strict=True)
        return Facts(*(np.concatenate(column) for column in columns)), [meta for _, raw in parts for meta in raw]

    def _facts(self, users: U64, count: int, before: I64 | None) -> tuple[tuple[Facts, Metas], Bool]:
        layout, width = self.layout, sealed_width(self.layout.facts_bytes)
        about = (count, layout.facts_kept, width, CHUNK)
        times = [()] * len(users) if before is None else [(time,) for time in before.tolist()]
        asked = zip(self._keys(users), times, strict=True)
        answers = self._ask([("EVALSHA", FACTS_SHA, 1, key, *about, *time) for key, time in asked])
        raw = [answer[0] if answer else None for answer in answers]
        meta, _, wrong = self._parsed(users, raw)
        next_ = meta[:, NEXT].copy()
        upto = np.minimum(np.array([answer[1] if answer else 0 for answer in answers], np.int64), next_)
        first = np.maximum(np.maximum(upto - count, next_ - layout.facts_kept), 0)
        last = np.minimum(upto + 1, next_)
        row, sizes = starts(last - first), last - first
        sealed = np.zeros((int(sizes.sum()), width), np.uint8)
        flat = sealed.reshape(-1).data
        for answer, at, size in zip(answers, (row * width).tolist(), (sizes * width).tolist(), strict=True):
            if size:
                rows = answer[2][:size]
                flat[at : at + len(rows)] = rows
        out = np.empty((len(sealed), layout.facts_bytes), np.uint8)
        wrong |= unseal(users, _FACTS, first, last, row, sealed, out)
        asked_for = np.arange(len(out)) - np.repeat(row, sizes) < np.repeat(upto - first, sizes)
        return (Facts(next_, meta[:, FROM].copy(), first, upto - first, out[asked_for]), raw), wrong

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        rows, there, _ = self.states_and_metas(users, first, counts)
        return rows, there

    def states_and_metas(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool, Metas]:
        """The same, and each user's meta as it was then."""
        parts: list[tuple[U8, Bool, Metas]] = []
        for some in slices_of(counts * self.layout.state_bytes, _AT_ONCE):
            read = partial(self._states, users[some], first[some], counts[some])
            parts.append(self._steadily(users[some], read))
        rows, there, metas = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(there), [meta for raw in metas for meta in raw]

    def _states(self, users: U64, first: I64, counts: I64) -> tuple[tuple[U8, Bool, Metas], Bool]:
        width = sealed_width(self.layout.state_bytes)
        pieces = Pieces.of(first, first + counts if width else first)
        asked = zip(self._keys(users), dealt(pieces.fields("s"), pieces.counts), strict=True)
        answers = self._ask([("HMGET", key, "m", *fields) for key, fields in asked])
        raw = [answer[0] for answer in answers]
        meta, _, wrong = self._parsed(users, raw)
        bounds = Bounds(meta[:, NEXT].copy(), meta[:, FROM].copy())
        row, low, upto, there = state_windows(bounds, self.layout, first, counts)
        sealed = np.zeros((len(there), width), np.uint8)
        out = np.zeros((len(there), self.layout.state_bytes), np.uint8)
        lay_out([chunk for answer in answers for chunk in answer[1:]], pieces, low, upto, row, sealed)
        wrong |= unseal(users, _STATES, low, upto, row, sealed, out)
        return (out, there, raw), wrong

    def metas(self, users: U64) -> Metas:
        """What says in which state each user is, as it is now: another one after whatever changed it; None: not there."""
        return self._ask([("HGET", key, "m") for key in self._keys(users)])

    def _parsed(self, users: U64, raw: Metas) -> tuple[I64, Bool, Bool]:
        """Metas, who has one, and whose is newly found wrong; zero for those damaged."""
        meta, there, wrong = metas_of(users, raw)
        if self.damaged:
            known = np.isin(users, np.fromiter(self.damaged, np.uint64))
            meta[known], there[known], wrong[known] = 0, False, False
        return meta, there, wrong

    def _steadily(self, users: U64, read: Callable[[], tuple[Any, Bool]]) -> Any:
        """Read until all sums are right; users whose are not after some readings are damaged, and read as never seen."""
        readings = 0
        while True:
            found, wrong = read()
            if not wrong.any():
                return found
            readings += 1
            if readings % _READINGS == 0:
                self.damaged |= set(users[wrong].tolist())

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay).

        Of a user whose bytes are wrong nothing is kept, these rows neither; ``damaged`` names it, and ``gone`` one that is
        not there and whose rows do not begin at 0. Errors: StoreError, after which some users may have the cut already: it
        is to be appended again, by this process or the next.
        """
        last, lineages = self._standing()
        self.gone.clear()
        while cut > last:
            self._write(rows, cut)
            self._mark(cut, lineages)
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
        for some in slices_of(plan.sizes, _AT_ONCE):
            self._ask(plan.commands(self._keys(written.users[some]), some, self._ttl), confirm=True)

    def _standing(self) -> tuple[int, list[bytes]]:
        """The last cut, and the lineage of each marker's node. Errors: ``StoreError`` where servers have gone back."""
        if self.readonly:
            raise ValueError(f"{self.address.url} was opened to read only")
        found = self._ask([("EVALSHA", STANDING_SHA, 1, key) for key in self._markers])
        last = _least([cut for cut, _ in found])
        if last < self._applied:
            raise StoreError(
                f"{self.address.url}: has gone back from cut {self._applied} to {last}, so a server lost what it had "
                "acknowledged: `marm resume` writes it again"
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
        self.damaged -= set(users.tolist())

    def _delete(self, users: U64) -> None:
        self._ask([("UNLINK", key) for key in self._keys(users)], confirm=True)

    def last_cut(self) -> int:
        """Number of the last append that is whole; -1 before the first."""
        return _least(self._ask([("GET", key) for key in self._markers]))

    def holding(self) -> Holding:
        """Every user in the store, as of its last cut: who has a later one already is told as before it."""
        last, none = self.last_cut(), np.zeros(0, np.uint64)
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
        self._ask([("DEL", key) for key in self._markers], confirm=True)
        self._applied = -1
        for keys in self._link.scan(self._every):
            self._ask([("UNLINK", key) for key in keys])
        self.damaged.clear()

    def close(self) -> None:
        """Close the connections; the store is not used after."""
        self._link.close()


def _least(cuts: list[bytes | None]) -> int:
    return min(-1 if cut is None else int(cut) for cut in cuts)
