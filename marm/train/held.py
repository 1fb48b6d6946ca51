"""A run folder that one process at a time may change."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marm.files import hold, release

LOCK = "lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run folder. Errors: ``FolderError`` where another process trains in it or changes its memory."""
    handle = hold(folder / LOCK, f"{folder}: another process trains in it or changes its memory: stop it first")
    try:
        yield
    finally:
        release(handle)
