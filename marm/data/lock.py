"""Who may write: a lock on a file, given back when its process ends in whatever way; and folders made durable."""

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
