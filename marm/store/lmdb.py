"""Rings in an embedded LMDB database: durable, one writer and many reading processes, packed chunks of 64 rows.

    users   user                     -> next, states_from, seen (int64 each), and their sum
    rows    user, column, chunk      -> rows [64 chunk, 64 chunk + 64) of that column, each with its sum, as many as there are
    about   "layout", "cut"          -> the layout as JSON, the last cut

Keys are big endian, so that a user's chunks lie side by side in order. The folder holds generations (``generations.py``).
"""

import json
from bisect import bisect_left
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np

from marm.errors import FolderError, LayoutError
from marm.store import generations
from marm.store.base import Facts, Holding, Layout, Rows, Space, StoreStats, space_of
from marm.store.chunks import CHUNK, Runs, chunk_key, flat_of, runs_of, slices, user_keys
from marm.store.environment import Environment, borrow, give_back
from marm.store.rings import Bounds, difference, starts, state_windows, stats_of
from marm.store.sums import seal, sealed_width, unseal
from marm.types import I64, U8, U64, Bool

_FACTS, _STATES, _USERS = 0, 1, 2
_META_BYTES = sealed_width(24)
_TABLES = (b"about", b"users", b"rows")
_TIME = Struct("=q")
_CUT = Struct("=q")
_FORMAT = 2
_BATCH = 65536
_COPIED = 1 << 24


class LmdbStore:
    """The contract of ``Store`` over a folder; every append is one transaction, on the disk when it returns."""

    durable = True

    def __init__(self, path: Path, layout: Layout, readonly: bool = False, generation: Path | None = None) -> None:
        """Open or make the store, or a ``generation`` of it that is to take over.

        Errors: LayoutError for another layout's, FolderError or DiskError where it cannot be.
        """
        self.layout, self.path, self.damaged, self.gone = layout, path, set[int](), set[int]()
        self._environment = borrow(generation, False, _TABLES) if generation else _borrowed(path, readonly)
        self.generation = self._environment.path.name
        """Name of what is open; another one may have taken over since."""
        self._about, self._users, self._rows = self._environment.tables
        self._open = True
        try:
            self._guard(path)
        except BaseException:
            self.close()
            raise

    def serving(self) -> str:
        """Name of the generation that serves now; empty where the folder is gone."""
        found = generations.serving(self.path)
        return found.name if found else ""

    def take_over(self, cut: int) -> None:
        """Let this generation serve from now on, as the one of a cut."""
        self._environment.write(lambda txn: txn.put(b"cut", _CUT.pack(cut), db=self._about))
        generations.switch(self.path, self.path / self.generation)

    def copy_rows(self, other: "LmdbStore") -> None:
        """Write all that this one holds, damaged users left out, into another one: no byte of what was deleted goes along."""
        left_out = {user.to_bytes(8, "big") for user in self.damaged}
        for mine, theirs in ((self._users, other._users), (self._rows, other._rows)):
            with self._environment.read() as txn:
                entries = (entry for entry in txn.cursor(mine) if bytes(entry[0][:8]) not in left_out)
                while batch := _some(entries):
                    other._environment.write(partial(_put_all, theirs, batch))

    def _guard(self, path: Path) -> None:
        with self._environment.read() as txn:
            text = txn.get(b"layout", None, self._about)
            held = json.loads(bytes(text)) if text is not None else None
        if held is None and self._environment.readonly:
            raise FolderError(f"{path}: its first writer was stopped before it held anything: train into it first")
        if held is None:
            asked = json.dumps({"format": _FORMAT, **asdict(self.layout)}).encode()
            self._environment.write(lambda txn: txn.put(b"layout", asked, db=self._about))
            return
        if held.pop("format") != _FORMAT:
            raise FolderError(
                f"{path}: written by another version of marm: name a new folder in memory.url and train anew"
            )
        differ = difference(Layout(**held), self.layout)
        if differ:
            raise LayoutError(f"lmdb://{path}", *differ)

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        while True:
            known = len(self.damaged)
            with self._environment.read() as txn:
                bounds = self._bounds(txn, users)
                floor, upto = bounds.facts_floor(self.layout), bounds.next
                if before is not None:
                    upto = self._first_not_before(txn, users, floor, upto, before)
                    self._check_ends(txn, users, upto, bounds.next)
                first = np.maximum(upto - count, floor)
                row = starts(upto - first)
                out = np.empty((int((upto - first).sum()), self.layout.facts_bytes), np.uint8)
                self._copy_out(txn, users, _FACTS, first, upto, row, out)
            if len(self.damaged) == known:
                return Facts(bounds.next, bounds.states_from, first, upto - first, out)

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        while True:
            known = len(self.damaged)
            with self._environment.read() as txn:
                row, low, upto, there = state_windows(self._bounds(txn, users), self.layout, first, counts)
                out = np.empty((len(there), self.layout.state_bytes), np.uint8)
                self._copy_out(txn, users, _STATES, low, upto, row, out)
            if len(self.damaged) == known:
                break
        if not there.all():
            out[~there] = 0
        return out, there

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay).

        Of a user whose bytes are wrong nothing is kept, these rows neither; ``damaged`` names it.
        """
        self._environment.write(lambda txn: self._append(txn, rows, cut))

    def _append(self, txn: Any, rows: Rows, cut: int) -> None:
        if cut <= self._cut(txn):
            return
        self._forget(txn, rows.forgotten)
        old = self._bounds(txn, rows.users)
        if self.damaged:
            good = ~np.isin(rows.users, np.fromiter(self.damaged, np.uint64))
            self._delete(txn, rows.users[~good])
            rows, old = rows.of(good), Bounds(old.next[good], old.states_from[good])
        new = old.after(rows, self.layout)
        gone: list[bytes] = []
        chunks: list[tuple[bytes, Any]] = []
        for column, data, old_floor, floor in (
            (_FACTS, rows.facts, old.facts_floor(self.layout), new.facts_floor(self.layout)),
            (_STATES, rows.states, old.states_floor(self.layout), new.states_floor(self.layout)),
        ):
            low = np.maximum(rows.first, floor)
            row = starts(rows.counts) + low - rows.first
            sealed = seal(rows.users, column, rows.first, rows.counts, data)
            chunks += self._merged(txn, runs_of(rows.users, column, low, rows.first + rows.counts, row), sealed)
            whole = np.minimum(floor, old.next + CHUNK - 1) // CHUNK * CHUNK
            gone += runs_of(rows.users, column, old_floor // CHUNK * CHUNK, whole, row).keys
        for key in gone:
            txn.delete(key, db=self._rows)
        txn.cursor(self._rows).putmulti(sorted(chunks, key=lambda chunk: chunk[0]))
        meta = np.stack([new.next, new.states_from, rows.seen], axis=1).astype(np.int64).view(np.uint8)
        zero, one = np.zeros(len(meta), np.int64), np.ones(len(meta), np.int64)
        sealed = seal(rows.users, _USERS, zero, one, meta)
        txn.cursor(self._users).putmulti(zip(user_keys(rows.users), slices(sealed, _META_BYTES), strict=True))
        txn.put(b"cut", _CUT.pack(cut), db=self._about)

    def forget(self, users: U64) -> None:
        """Forget users wholly, now; what is free in the file may still hold their bytes until ``copy_rows``."""
        self._environment.write(lambda txn: self._forget(txn, users))

    def _forget(self, txn: Any, users: U64) -> None:
        self._delete(txn, users)
        self.damaged -= set(users.tolist())

    def _delete(self, txn: Any, users: U64) -> None:
        cursor = txn.cursor(self._rows)
        for key in user_keys(users):
            txn.delete(key, db=self._users)
            here = cursor.set_range(key)
            while here and bytes(cursor.key()[:8]) == key:
                here = cursor.delete()

    def _merged(self, txn: Any, runs: Runs, data: U8) -> list[tuple[bytes, Any]]:
        """Each run's chunk as it shall be: what it holds, with the run's rows laid over."""
        width = data.shape[1]
        flat = flat_of(data)
        out: list[tuple[bytes, Any]] = []
        for key, row, inside, count in zip(runs.keys, *runs.where.tolist(), strict=True):
            value: Any = flat[row * width : (row + count) * width]
            if count < CHUNK:
                # Copied now: a buffer of this transaction does not outlive its first write.
                held = bytes(txn.get(key, b"", self._rows))
                head, tail = held[: inside * width], held[(inside + count) * width :]
                value = b"".join((head.ljust(inside * width, b"\0"), value, tail))
            out.append((key, value))
        return out

    def _copy_out(self, txn: Any, users: U64, column: int, first: I64, upto: I64, row: I64, out: U8) -> None:
        """Rows of a column, sums checked; users of wrong ones are noted, and their rows are not to be used."""
        runs = runs_of(users, column, first, upto, row)
        width = sealed_width(out.shape[1])
        sealed = np.empty((len(out), width), np.uint8)
        flat, get, table = flat_of(sealed), txn.get, self._rows
        for key, at, begin, size in zip(runs.keys, *(runs.where * width).tolist(), strict=True):
            found = get(key, b"", table)[begin : begin + size]
            flat[at : at + size] = found if len(found) == size else bytes(size)
        wrong = unseal(users, column, first, np.maximum(first, upto), row, sealed, out)
        if wrong.any():
            self.damaged |= set(users[wrong].tolist())

    def _first_not_before(self, txn: Any, users: U64, floor: I64, upto: I64, before: I64) -> I64:
        """First position in [floor, upto) whose time is not before the given one; ``upto`` where all are."""
        out = upto.copy()
        spans = zip(users.tolist(), floor.tolist(), upto.tolist(), before.tolist(), strict=True)
        for i, (user, low, high, time) in enumerate(spans):
            times = partial(self._time, txn, user)
            if low < high and times(high - 1) >= time:  # the newest first: most questions are about now
                out[i] = bisect_left(range(high - 1), time, low, key=times)
        return out

    def _time(self, txn: Any, user: int, position: int) -> int:
        begin = position % CHUNK * sealed_width(self.layout.facts_bytes)
        chunk = txn.get(chunk_key(user, _FACTS, position // CHUNK), b"", self._rows)
        return int(_TIME.unpack_from(chunk, begin)[0]) if len(chunk) >= begin + _TIME.size else 0

    def _check_ends(self, txn: Any, users: U64, upto: I64, end: I64) -> None:
        """A search that a wrong time misled ends at that row, or right after it, where it is read and checked anyway."""
        inner = np.flatnonzero(upto < end)
        if len(inner):
            out = np.empty((len(inner), self.layout.facts_bytes), np.uint8)
            self._copy_out(txn, users[inner], _FACTS, upto[inner], upto[inner] + 1, np.arange(len(inner)), out)

    def _bounds(self, txn: Any, users: U64) -> Bounds:
        """The rings of users; those of damaged ones are empty."""
        never, get, table = bytes(_META_BYTES), txn.get, self._users
        meta = self._meta(users, b"".join([get(key, never, table) for key in user_keys(users)]))
        return Bounds(meta[:, 0].copy(), meta[:, 1].copy())

    def _meta(self, users: U64, raw: bytes) -> I64:
        """Next position, where states begin, last seen (B, 3); zero for those never seen or damaged."""
        if len(raw) != len(users) * _META_BYTES:
            raise FolderError(
                f"{self.path}: damaged in what names its users: name a new folder in memory.url and train anew"
            )
        sealed, out = np.frombuffer(raw, np.uint8).reshape(-1, _META_BYTES), np.empty((len(users), 24), np.uint8)
        zero, row = np.zeros(len(users), np.int64), np.arange(len(users))
        wrong = unseal(users, _USERS, zero, zero + 1, row, sealed, out) & sealed.any(1)
        if wrong.any():
            self.damaged |= set(users[wrong].tolist())
        meta: I64 = out.view(np.int64)
        if self.damaged:
            meta[np.isin(users, np.fromiter(self.damaged, np.uint64))] = 0
        return meta

    def _cut(self, txn: Any) -> int:
        value = txn.get(b"cut", None, self._about)
        return -1 if value is None else int(_CUT.unpack(value)[0])

    def last_cut(self) -> int:
        """Number of the last append; -1 before the first."""
        with self._environment.read() as txn:
            return self._cut(txn)

    def holding(self) -> Holding:
        """Every user in the store."""
        size, parts = 8 + _META_BYTES, [b""]
        with self._environment.read() as txn:
            entries = iter(txn.cursor(self._users))
            while batch := b"".join([part for entry in islice(entries, _BATCH) for part in entry]):
                parts.append(batch)
        raw = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, size)
        users = np.ascontiguousarray(raw[:, :8]).view(">u8")[:, 0].astype(np.uint64)
        meta = self._meta(users, raw[:, 8:].tobytes())
        here = ~np.isin(users, np.fromiter(self.damaged, np.uint64))
        return Holding(users[here], *(meta[here, column].copy() for column in range(3)))

    def stats(self) -> StoreStats:
        """Users, rows and bytes."""
        return stats_of(self.holding(), self.layout)

    def space(self) -> Space:
        """Bytes of the pages in use, and of the file."""
        return space_of(*self._environment.space())

    def clear(self) -> None:
        """Forget every user; the next cut number may be any."""
        self._environment.write(self._clear)

    def _clear(self, txn: Any) -> None:
        for table in (self._users, self._rows):
            txn.drop(table, delete=False)
        txn.delete(b"cut", db=self._about)

    def copy(self, path: Path) -> None:
        """Copy the last commit into a new store, beside whoever writes."""
        generation = path / self.generation
        self._environment.copy(generation)
        generations.switch(path, generation)

    def close(self) -> None:
        """Give back the folder; the store is not used after."""
        if self._open:
            self._open = False
            give_back(self._environment)


def _borrowed(path: Path, readonly: bool) -> Environment:
    """The generation that serves; another one may take over, and this one be deleted, after its name was read."""
    while True:
        folder = (generations.serving(path) or path) if readonly else generations.first(path)
        try:
            return borrow(folder, readonly, _TABLES)
        except FolderError:
            if not readonly or generations.serving(path) in (folder, None):
                raise


def _put_all(table: Any, entries: list[tuple[bytes, bytes]], txn: Any) -> None:
    txn.cursor(table).putmulti(entries, append=True)


def _some(entries: Any) -> list[tuple[bytes, bytes]]:
    """The next entries of a table, copied, some sixteen megabytes of them."""
    out, size = [], 0
    for key, value in entries:
        out.append((bytes(key), bytes(value)))
        size += len(value)
        if size >= _COPIED:
            break
    return out
