"""The inbox: feedback that was served, appended durably as JSON lines by one process, read by many.

inbox/00000001.ndjson  00000002.ndjson ...   end   lock

One record a line, of two kinds (ids are JSON text or numbers and compare as text; ``at`` is a number or ISO text, as in
the log's own time column):

    {"kind": "event", "event_id": "e7", "user": 7, "item": 41, "at": 1700000000, "context": {}, "outcomes": {"click": 1}}
    {"kind": "outcomes", "event_id": "e7", "outcomes": {"watch_s": 31.5}}

``end`` is one 64-bit number that writer and readers map into memory: up to where lines are durable. Readers never look
beyond it, so what a full disk left half written, or what was taken back, was never seen by anybody.
"""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from marm.data.place import Position
from marm.errors import DiskError
from marm.files import hold, release, sync

ROTATE_AT = 64 * 1024**2
READ_BYTES = 4 * 1024**2
_OFFSET_BITS = np.uint64(40)


def inbox_file(folder: Path, number: int) -> Path:
    """Where a file of the inbox lies; the first is 1."""
    return folder / f"{number:08d}.ndjson"


class InboxWriter:
    """Appends lines to an inbox folder (``DIR/inbox``); of several threads, one at a time may call it.

    Errors: ``FolderError`` where another process holds it open, ``DiskError`` where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = hold(folder / "lock", f"{folder}: another process takes feedback for this run: stop it first")
            self._number = max((int(path.stem) for path in folder.glob("[0-9]*.ndjson")), default=1)
            self._file = _open(inbox_file(folder, self._number))
            self._size = _cut_half_line(self._file)
            os.fsync(self._file)
            sync(folder)
            self._end = _map_end(folder)
        except OSError as error:
            raise DiskError(folder, error) from None
        self._torn = False
        self._publish()

    @property
    def end(self) -> Position:
        """Where the next line goes."""
        return Position(self._number, self._size)

    def append(self, lines: Sequence[bytes]) -> Position:
        """Write lines (JSON without a line break), all or none, down to the disk; returns where they end.

        Many lines at once cost one sync. Errors: ``DiskError``; then none of them is there.
        """
        if any(b"\n" in line or not line for line in lines):
            raise ValueError("a line of the inbox is one JSON object without a line break")
        if not lines:
            return self.end
        data = b"\n".join(lines) + b"\n"
        try:
            self._mend()
            if self._size and self._size + len(data) > ROTATE_AT:
                self._rotate()
            self._torn = True
            _write(self._file, data, self._size)
            os.fdatasync(self._file)
        except OSError as error:
            self._take_back()
            raise DiskError(inbox_file(self._folder, self._number), error) from None
        self._torn = False
        self._size += len(data)
        self._publish()
        return self.end

    def close(self) -> None:
        """Give back the files and the lock."""
        self._end.close()
        os.close(self._file)
        release(self._lock)

    def _rotate(self) -> None:
        file = _open(inbox_file(self._folder, self._number + 1))
        sync(self._folder)
        os.close(self._file)
        self._file, self._number, self._size = file, self._number + 1, 0

    def _take_back(self) -> None:
        try:
            self._mend()
        except OSError:
            # The next append tries again; until then readers stop at the end that was published.
            return

    def _mend(self) -> None:
        """Cut what a write that failed left beyond the end."""
        if self._torn:
            os.ftruncate(self._file, self._size)
            self._torn = False

    def _publish(self) -> None:
        # One aligned 64-bit store: a reader sees the old end or the new one.
        word = np.uint64(self._number) << _OFFSET_BITS | np.uint64(self._size)
        np.frombuffer(self._end, np.uint64)[0] = word


def end_of(folder: Path) -> Position:
    """Where an inbox ends; its beginning, if nobody has written to it yet."""
    try:
        with (folder / "end").open("rb") as file, mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ) as mapped:
            word = int(np.frombuffer(mapped[:8], np.uint64)[0])
    except (FileNotFoundError, ValueError):
        return Position()
    return Position(word >> int(_OFFSET_BITS), word & (1 << int(_OFFSET_BITS)) - 1)


def begin_of(folder: Path) -> Position:
    """Where the oldest file that is still there begins."""
    return Position(min((int(path.stem) for path in folder.glob("[0-9]*.ndjson")), default=1))


def trim(folder: Path, before: Position, age: float, now: float) -> int:
    """Delete files that end before a place and were last written to ``age`` seconds ago; how many. Errors: ``DiskError``.

    The newest stays: its number says where writing goes on.
    """
    gone = 0
    for path in sorted(folder.glob("[0-9]*.ndjson"))[:-1]:
        try:
            if int(path.stem) >= before.file or now - path.stat().st_mtime < age:
                break
            path.unlink()
        except OSError as error:
            raise DiskError(path, error) from None
        gone += 1
    return gone


def read(folder: Path, since: Position, limit_bytes: int = READ_BYTES) -> tuple[list[bytes], Position]:
    """Whole lines from ``since`` on, about ``limit_bytes`` of them and at least one if there is one; and where they end.

    Lines of one file at a time: an answer without lines, and only that, says that there are no more.
    """
    end = end_of(folder)
    while since < end:
        path = inbox_file(folder, since.file)
        size = end.offset if since.file == end.file else path.stat().st_size
        if since.offset < size:
            data = _whole_lines(path, since.offset, size, limit_bytes)
            return data[:-1].split(b"\n"), Position(since.file, since.offset + len(data))
        since = Position(since.file + 1, 0)
    return [], since


def _whole_lines(path: Path, begin: int, end: int, limit: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read(min(limit, end - begin))
        while begin + len(data) < end and b"\n" not in data:
            data += file.read(min(limit, end - begin - len(data)))
    return data[: data.rindex(b"\n") + 1]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _cut_half_line(file: int) -> int:
    """Cut what comes after the last line break; returns the size that is left."""
    size = end = os.fstat(file).st_size
    while end:
        begin = max(0, end - READ_BYTES)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end < size:
        os.ftruncate(file, end)
    return end


def _map_end(folder: Path) -> mmap.mmap:
    handle = os.open(folder / "end", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.fstat(handle).st_size < 8:
            _write(handle, bytes(8), 0)
            os.fsync(handle)
        return mmap.mmap(handle, 8)
    finally:
        os.close(handle)


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done
