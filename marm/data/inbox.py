"""The inbox: feedback that was served, appended durably as JSON lines by servers in turn, read by many.

inbox/00000001.ndjson  00000002.ndjson ...   end   lock

One record a line, of two kinds (ids are JSON text or numbers and compare as text; ``at`` is a number or ISO text, as in
the log's own time column):

    {"kind": "event", "event_id": "e7", "user": 7, "item": 41, "at": 1700000000, "context": {}, "outcomes": {"click": 1}}
    {"kind": "outcomes", "event_id": "e7", "outcomes": {"watch_s": 31.5}}

``end`` is one 64-bit number and its complement: up to where lines are durable. Readers never look beyond it, so what a full
disk left half written, or what was taken back, was never seen by anybody. Who appends holds ``lock``, and goes on from the
``end`` that the one before it wrote.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from marm.data.place import Position
from marm.errors import DiskError, FolderError
from marm.files import sync

ROTATE_AT = 64 * 1024**2
READ_BYTES = 4 * 1024**2
PATIENCE = 10.0
"""Seconds to wait for a turn."""
_PAUSE = 0.001
_READINGS = 100
"""Of an ``end`` that is just being written."""
_OFFSET_BITS = np.uint64(40)


def inbox_file(folder: Path, number: int) -> Path:
    """Where a file of the inbox lies; the first is 1."""
    return folder / f"{number:08d}.ndjson"


class InboxWriter:
    """Appends lines to an inbox folder (``DIR/inbox``), in turn with other processes; of several threads, one may call it.

    Errors: ``FolderError`` where another process does not end its turn, ``DiskError`` where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._number, self._size, self._file, self._in_turn = folder, 0, 0, -1, False
        self._torn: Position | None = None
        """Where a write failed of which something is left."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock, self._end = _open(folder / "lock"), _open(folder / "end")
            with self.turn():
                self._publish()
                sync(folder)
        except OSError as error:
            raise DiskError(folder, error) from None

    @property
    def end(self) -> Position:
        """Where lines ended when this process last had its turn."""
        return Position(self._number, self._size)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else appends meanwhile, and what others appended before is known. Turns of one writer may be nested."""
        if self._in_turn:
            yield
            return
        self._wait()
        try:
            self._in_turn = True
            try:
                self._catch_up()
            except OSError as error:
                raise DiskError(inbox_file(self._folder, self._number), error) from None
            yield
        finally:
            self._in_turn = False
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def append(self, lines: Sequence[bytes]) -> Position:
        """Write lines (JSON without a line break), all or none, down to the disk; returns where they end.

        Many lines at once cost one sync. Errors: ``DiskError``; then none of them is there.
        """
        if any(b"\n" in line or not line for line in lines):
            raise ValueError("a line of the inbox is one JSON object without a line break")
        with self.turn():
            if lines:
                self._append(b"\n".join(lines) + b"\n")
            return self.end

    def _append(self, data: bytes) -> None:
        try:
            if self._size and self._size + len(data) > ROTATE_AT:
                self._rotate()
            self._torn = self.end
            _write(self._file, data, self._size)
            os.fdatasync(self._file)
        except OSError as error:
            self._take_back()
            raise DiskError(inbox_file(self._folder, self._number), error) from None
        self._torn = None
        self._size += len(data)
        self._publish()

    def close(self) -> None:
        """Give back the files."""
        for handle in (self._file, self._end, self._lock):
            os.close(handle)

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise FolderError(
                        f"{self._folder}: another process has been writing for {PATIENCE:.0f} seconds: "
                        "end the server that hangs"
                    ) from None
            time.sleep(_PAUSE)

    def _catch_up(self) -> None:
        """Go on where the last one ended. Whole lines beyond that are of one that died before it said so: they are kept."""
        newest = max((int(path.stem) for path in self._folder.glob("[0-9]*.ndjson")), default=1)
        if newest != self._number:
            self._go_to(newest)
        end = end_of(self._folder)
        self._size = end.offset if end.file == newest else 0
        if self._torn == self.end:
            self._cut()
        elif os.fstat(self._file).st_size > self._size or end != self.end:
            self._size = _cut_half_line(self._file)
            os.fsync(self._file)
            self._publish()

    def _go_to(self, number: int) -> None:
        file = _open(inbox_file(self._folder, number))
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number, self._size = file, number, 0

    def _rotate(self) -> None:
        self._go_to(self._number + 1)
        sync(self._folder)

    def _take_back(self) -> None:
        try:
            self._cut()
        except OSError:
            # The next turn tries again; until then readers stop at the end that was published.
            return

    def _cut(self) -> None:
        """Cut what a write that failed left beyond the end."""
        os.ftruncate(self._file, self._size)
        self._torn = None

    def _publish(self) -> None:
        word = np.uint64(self._number) << _OFFSET_BITS | np.uint64(self._size)
        _write(self._end, np.array([word, ~word], np.uint64).tobytes(), 0)


def end_of(folder: Path) -> Position:
    """Where an inbox ends; its beginning, if nobody has written to it yet."""
    try:
        handle = os.open(folder / "end", os.O_RDONLY)
    except FileNotFoundError:
        return Position()
    try:
        for _ in range(_READINGS):
            words = np.frombuffer(os.pread(handle, 16, 0), np.uint64)
            if len(words) == 2 and words[0] == ~words[1]:
                return Position(int(words[0] >> _OFFSET_BITS), int(words[0]) & (1 << int(_OFFSET_BITS)) - 1)
    finally:
        os.close(handle)
    return Position()


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


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done
