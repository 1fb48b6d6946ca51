"""Files that several processes share: who may write, folders made durable, texts replaced whole."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marm.errors import DiskError, FolderError


def hold(path: Path, taken: str) -> int:
    """Lock a file for this process; a handle to release. Errors: ``FolderError`` (``taken``) where another one holds it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DiskError(path, error) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FolderError(taken) from None
    return handle


def release(handle: int) -> None:
    """Let another process lock it."""
    os.close(handle)


def sync(path: Path) -> None:
    """Make durable what a file holds, or which files a folder does."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what shall take a file's place, which it does at the end, whole, or not at all. Errors: ``DiskError``."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise DiskError(path, error) from None
    finally:
        # Whatever broke it off; after the rename there is nothing to remove.
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old text or the new one."""
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
