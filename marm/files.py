"""Files that several processes share: who may write, folders made durable, texts replaced whole."""

import fcntl
import os
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


def sync(folder: Path) -> None:
    """Make durable which files a folder holds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old text or the new one."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DiskError(path, error) from None
