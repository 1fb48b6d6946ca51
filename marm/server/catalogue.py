"""Items as they were told since training: added, changed, withdrawn, available from and until; the journal's writer."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from marm.data.journal import FILE, locked
from marm.data.stream import EventLog
from marm.data.told import Laying, Told
from marm.data.values import hashes_of
from marm.errors import DataError, DiskError
from marm.server.times import Times
from marm.types import I64, U64, Bool


class Window(NamedTuple):
    """When an item may be shown: from ``begin`` on and before ``end``, in microseconds."""

    begin: int = -(1 << 62)
    end: int = 1 << 62


_CLOSED = Window(begin=1 << 62)
_WINDOW = {"begin": "available_from", "end": "available_until"}


class Catalogue:
    """The item file with the journal laid over it. One thread tells, others ask: what they see is replaced whole."""

    def __init__(self, folder: Path, log: EventLog, times: Times) -> None:
        """Replays the journal. Errors: ``DiskError``."""
        self._times, self._path, self._laying = times, folder / FILE, Laying(log)
        self._windows: dict[int, Window] = {}
        self._limits: tuple[U64, I64, I64] = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.told = self._laying.nothing
        self._heard = 0
        """Bytes of the journal that are known."""
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self.hear()
        except OSError as error:
            raise DiskError(self._path, error) from None

    def hear(self) -> bool:
        """Take what other servers of the folder were told; whether there was anything."""
        if os.fstat(self._file).st_size == self._heard:
            return False
        with locked(self._file):
            self._catch_up()
        return True

    def tell(self, items: Sequence[dict[str, Any]]) -> None:
        """Take items, all or none, down to the disk. Errors: ``DataError`` naming the item, ``DiskError``."""
        with locked(self._file):
            self._catch_up()
            after = self._after(items)
            data = b"".join(orjson.dumps(item) + b"\n" for item in items)
            self._write(data)
            self._heard += len(data)
            self._show(*after)

    def _catch_up(self) -> None:
        """Read on; half a line is of a server that died in writing it, and is cut."""
        data = os.pread(self._file, os.fstat(self._file).st_size - self._heard, self._heard)
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.ftruncate(self._file, self._heard + len(whole))
        if whole:
            self._show(*self._after([orjson.loads(line) for line in whole.splitlines()]))
            self._heard += len(whole)

    def _write(self, data: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fdatasync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise DiskError(self._path, error) from None

    def _after(self, items: Sequence[dict[str, Any]]) -> tuple[dict[int, Window], Told]:
        told, windows = self._laying.over(self.told, items), dict(self._windows)
        keys = hashes_of([item["item"] for item in items]).tolist()
        for at, (key, item) in enumerate(zip(keys, items, strict=True)):
            given = {field: item[name] for field, name in _WINDOW.items() if item.get(name) is not None}
            try:
                read = {field: self._times.read(value, _WINDOW[field]) for field, value in given.items()}
            except DataError as error:
                raise DataError(f"items[{at}]: {error}") from None
            if read:
                windows[key] = windows.get(key, Window())._replace(**read)
        return windows, told

    def _show(self, windows: dict[int, Window], told: Told) -> None:
        self._windows, self.told = windows, told
        keys = np.array(sorted(windows.keys() | told.withdrawn), np.uint64)
        limits = [_CLOSED if key in told.withdrawn else windows[key] for key in keys.tolist()]
        begin, end = np.array(limits, np.int64).reshape(-1, 2).T
        self._limits = (keys, begin, end)

    def available(self, item: U64, at: int) -> Bool:
        """Which items may be shown at a time (n,)."""
        keys, begin, end = self._limits
        out = np.ones(len(item), bool)
        if len(keys):
            place = np.minimum(np.searchsorted(keys, item), len(keys) - 1)
            known = keys[place] == item
            out[known] = (begin[place[known]] <= at) & (at < end[place[known]])
        return out

    def unavailable(self, at: int) -> U64:
        """All items that may not be shown at a time."""
        keys, begin, end = self._limits
        return keys[(at < begin) | (end <= at)]

    def close(self) -> None:
        """Give back the journal."""
        os.close(self._file)
