"""The journal of items: one JSON line for each that is told, written by a server, read by whoever learns.

items.ndjson      {"item": 41, "features": {"price": 5.0}, "withdrawn": false, "available_from": 1700000000}

How much of it counts is a number of bytes; parts of the stream and cuts name theirs. The writer holds a lock while it writes,
so that nobody reads what a full disk makes it take back.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from marm.data.stream import EventLog
from marm.data.told import Laying, Told
from marm.errors import DiskError, FolderError

FILE = "items.ndjson"


@contextmanager
def locked(handle: int, shared: bool = False) -> Iterator[None]:
    """Nobody else writes meanwhile; nobody reads either, unless ``shared``."""
    fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


class ItemJournal:
    """Reads the journal of a run folder, each line once as long as it is asked for no earlier moment."""

    def __init__(self, folder: Path, log: EventLog) -> None:
        self._path, self._laying = folder / FILE, Laying(log)
        self.log = log
        self._end = self._size = 0
        self._told = self._laying.nothing

    def end(self) -> int:
        """Bytes of whole lines, durable from now on. Errors: ``DiskError``."""
        try:
            if self._path.exists() and self._path.stat().st_size != self._end:
                self._end = self._look()
        except OSError as error:
            raise DiskError(self._path, error) from None
        return self._end

    def _look(self) -> int:
        with self._path.open("rb") as file, locked(file.fileno(), shared=True):
            os.fdatasync(file.fileno())
            size = file.seek(0, os.SEEK_END)
            begin = min(self._end, size)
            file.seek(begin)
            return begin + file.read().rfind(b"\n") + 1

    def at(self, size: int) -> Told:
        """What is known of items after the first ``size`` bytes. Errors: ``FolderError`` where there are fewer."""
        if size < self._size:
            self._size, self._told = 0, self._laying.nothing
        if size > self._size:
            items = [orjson.loads(line) for line in self._read(self._size, size).splitlines()]
            self._size, self._told = size, self._laying.over(self._told, items)
        return self._told

    def _read(self, begin: int, end: int) -> bytes:
        data = b""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(begin)
                data = file.read(end - begin)
        if len(data) < end - begin:
            raise FolderError(f"{self._path}: {begin + len(data)} bytes, {end} were learned from: put it back")
        return data
