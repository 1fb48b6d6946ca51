"""A run folder: its settings, and the lock of the one process that may change it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marm.config import RunConfig, load_run
from marm.errors import FolderError
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


def run_of(out: Path) -> RunConfig:
    """The settings of a run folder."""
    if not (out / "run.toml").exists():
        raise FolderError(f"{out}: no run.toml in it; name a folder that `marm train` made")
    return load_run(out / "run.toml")
