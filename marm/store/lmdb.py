"""Rings in an embedded LMDB database: durable, one writer and many reading processes, packed chunks of 64 rows.

    users   user                     -> next, states_from, seen (int64 each)
    rows    user, column, chunk      -> rows [64 chunk, 64 chunk + 64) of that column, as many as there are
    about   "layout", "cut"          -> the layout as JSON, the last cut

Keys are big endian, so that a user's chunks lie side by side in order.
"""

import json
from bisect import bisect_left
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numba import njit

from marm.errors import FolderError, LayoutError
from marm.store.base import Facts, Holding, Layout, Rows, StoreStats
from marm.store.environment import borrow, give_back
from marm.store.rings import Bounds, difference, starts, state_windows, stats_of
from marm.types import I64, U8, U64, Bool

CHUNK = 64
_KEY_BYTES = 13
_FACTS, _STATES = 0, 1
_META = Struct("=qqq")
_TIME = Struct("=q")
_CUT = Struct("=q")
_FORMAT = 1
_BATCH = 65536


@dataclass(frozen=True)
class _Runs:
    """Runs of positions cut at chunk borders."""

    keys: list[bytes]
    where: I64
    """(3, C): row of the flat column where the run lies, row of the chunk where it begins, rows of it."""


class LmdbStore:
    """The contract of ``Store`` over a folder; every append is one transaction, on the disk when it returns."""

    durable = True

    def __init__(self, path: Path, layout: Layout, readonly: bool = False) -> None:
        """Open or make the store; LayoutError for another layout's, FolderError or DiskError where it cannot be."""
        self.layout = layout
        self._environment = borrow(path, readonly, (b"about", b"users", b"rows"))
        self._about, self._users, self._rows = self._environment.tables
        self._open = True
        try:
            self._guard(path)
        except BaseException:
            self.close()
            raise

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
            raise FolderError(f"{path}: written by another version of marm: name a new folder in memory.url")
        differ = difference(Layout(**held), self.layout)
        if differ:
            raise LayoutError(f"lmdb://{path}", *differ)

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        with self._environment.read() as txn:
            bounds = self._bounds(txn, users)
            floor, upto = bounds.facts_floor(self.layout), bounds.next
            if before is not None:
                upto = self._first_not_before(txn, users, floor, upto, before)
            first = np.maximum(upto - count, floor)
            counts = upto - first
            out = np.empty((int(counts.sum()), self.layout.facts_bytes), np.uint8)
            self._copy_out(txn, _runs(users, _FACTS, first, upto, starts(counts)), out)
        return Facts(bounds.next, bounds.states_from, first, counts, out)

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        with self._environment.read() as txn:
            row, low, upto, there = state_windows(self._bounds(txn, users), self.layout, first, counts)
            out = np.empty((len(there), self.layout.state_bytes), np.uint8)
            self._copy_out(txn, _runs(users, _STATES, low, upto, row), out)
        if not there.all():
            out[~there] = 0
        return out, there

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay)."""
        self._environment.write(lambda txn: self._append(txn, rows, cut))

    def _append(self, txn: Any, rows: Rows, cut: int) -> None:
        if cut <= self._cut(txn):
            return
        old = self._bounds(txn, rows.users)
        new = old.after(rows, self.layout)
        gone: list[bytes] = []
        chunks: list[tuple[bytes, Any]] = []
        for column, data, old_floor, floor in (
            (_FACTS, rows.facts, old.facts_floor(self.layout), new.facts_floor(self.layout)),
            (_STATES, rows.states, old.states_floor(self.layout), new.states_floor(self.layout)),
        ):
            low = np.maximum(rows.first, floor)
            row = starts(rows.counts) + low - rows.first
            chunks += self._merged(txn, _runs(rows.users, column, low, rows.first + rows.counts, row), data)
            whole = np.minimum(floor, old.next + CHUNK - 1) // CHUNK * CHUNK
            gone += _runs(rows.users, column, old_floor // CHUNK * CHUNK, whole, row).keys
        for key in gone:
            txn.delete(key, db=self._rows)
        txn.cursor(self._rows).putmulti(sorted(chunks, key=lambda chunk: chunk[0]))
        meta = np.stack([new.next, new.states_from, rows.seen], axis=1)
        txn.cursor(self._users).putmulti(zip(_user_keys(rows.users), _slices(meta, _META.size), strict=True))
        txn.put(b"cut", _CUT.pack(cut), db=self._about)

    def _merged(self, txn: Any, runs: _Runs, data: U8) -> list[tuple[bytes, Any]]:
        """Each run's chunk as it shall be: what it holds, with the run's rows laid over."""
        width = data.shape[1]
        flat = _flat(data)
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

    def _copy_out(self, txn: Any, runs: _Runs, out: U8) -> None:
        width = out.shape[1]
        flat, get, table = _flat(out), txn.get, self._rows
        for key, row, begin, size in zip(runs.keys, *(runs.where * width).tolist(), strict=True):
            flat[row : row + size] = get(key, None, table)[begin : begin + size]

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
        chunk = txn.get(_key(user, _FACTS, position // CHUNK), None, self._rows)
        return int(_TIME.unpack_from(chunk, position % CHUNK * self.layout.facts_bytes)[0])

    def _bounds(self, txn: Any, users: U64) -> Bounds:
        never, get, table = bytes(_META.size), txn.get, self._users
        meta = np.frombuffer(b"".join([get(key, never, table) for key in _user_keys(users)]), np.int64).reshape(-1, 3)
        return Bounds(meta[:, 0].copy(), meta[:, 1].copy())

    def _cut(self, txn: Any) -> int:
        value = txn.get(b"cut", None, self._about)
        return -1 if value is None else int(_CUT.unpack(value)[0])

    def last_cut(self) -> int:
        """Number of the last append; -1 before the first."""
        with self._environment.read() as txn:
            return self._cut(txn)

    def holding(self) -> Holding:
        """Every user in the store."""
        parts = [np.zeros((0, 4), np.int64)]
        with self._environment.read() as txn:
            entries = iter(txn.cursor(self._users))
            while batch := b"".join([part for entry in islice(entries, _BATCH) for part in entry]):
                parts.append(np.frombuffer(batch, np.int64).reshape(-1, 4))
        meta = np.concatenate(parts).T.copy()
        return Holding(meta[0].view(">u8").astype(np.uint64), meta[1], meta[2], meta[3])

    def stats(self) -> StoreStats:
        """Users, rows and bytes."""
        return stats_of(self.holding(), self.layout)

    def clear(self) -> None:
        """Forget every user; the next cut number may be any."""
        self._environment.write(self._clear)

    def _clear(self, txn: Any) -> None:
        for table in (self._users, self._rows):
            txn.drop(table, delete=False)
        txn.delete(b"cut", db=self._about)

    def copy(self, path: Path) -> None:
        """Copy the last commit into a new folder, beside whoever writes."""
        self._environment.copy(path)

    def close(self) -> None:
        """Give back the folder; the store is not used after."""
        if self._open:
            self._open = False
            give_back(self._environment)


def _key(user: int, column: int, chunk: int) -> bytes:
    return user.to_bytes(8, "big") + bytes((column,)) + chunk.to_bytes(4, "big")


def _runs(users: U64, column: int, first: I64, upto: I64, row: I64) -> _Runs:
    """Each user's positions [first, upto), that lie from ``row`` on in the flat column, cut at chunk borders."""
    keys, where = _cut_at_chunks(users, column, first, upto, row)
    return _Runs(_slices(keys, _KEY_BYTES), where)


@njit(cache=True, nogil=True)
def _cut_at_chunks(users: U64, column: int, first: I64, upto: I64, row: I64) -> tuple[U8, I64]:
    size = 0
    for i in range(len(users)):
        if upto[i] > first[i]:
            size += (upto[i] - 1) // CHUNK - first[i] // CHUNK + 1
    keys, where = np.empty((size, _KEY_BYTES), np.uint8), np.empty((3, size), np.int64)
    at = 0
    for i in range(len(users)):
        position = first[i]
        while position < upto[i]:
            chunk, inside = position // CHUNK, position % CHUNK
            for byte in range(8):
                keys[at, byte] = (users[i] >> np.uint64(56 - 8 * byte)) & np.uint64(255)
            keys[at, 8] = column
            for byte in range(4):
                keys[at, 9 + byte] = (chunk >> (24 - 8 * byte)) & 255
            where[0, at], where[1, at] = row[i] + position - first[i], inside
            where[2, at] = min(CHUNK - inside, upto[i] - position)
            position += where[2, at]
            at += 1
    return keys, where


def _user_keys(users: U64) -> list[bytes]:
    return _slices(users.astype(">u8"), 8)


def _slices(array: np.ndarray, size: int) -> list[bytes]:
    raw = array.tobytes()
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _flat(rows: U8) -> memoryview:
    return rows.reshape(-1).data
