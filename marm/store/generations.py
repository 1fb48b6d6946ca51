"""Generations of a store in one folder: one serves, the next is made beside it, and one rename makes it the one that serves.

memory/   current            the name of the generation that serves
          00000003/          it
          00000004/          one that is being made, or that serves no more; the next to be made deletes it
"""

import shutil
from pathlib import Path

from marm.errors import DiskError, FolderError
from marm.files import sync, write_text

_CURRENT = "current"
_OLD_FILE = "data.mdb"


def serving(path: Path) -> Path | None:
    """Folder of the generation that serves; None before the first. Errors: ``FolderError`` for a store of an older format."""
    try:
        return path / (path / _CURRENT).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        pass
    if (path / _OLD_FILE).exists():
        raise FolderError(f"{path}: written by another version of marm: name a new folder in memory.url and train anew")
    return None


def first(path: Path) -> Path:
    """The generation that serves, made if there is none. Errors: ``DiskError``."""
    found = serving(path)
    if found is None:
        found = path / f"{0:08d}"
        try:
            found.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(path, error) from None
        switch(path, found)
    return found


def beside(path: Path, keep: bool = False) -> Path:
    """Where to make the next generation; what an earlier try left there goes, unless it is to be kept."""
    now = serving(path)
    following = path / f"{int(now.name) + 1 if now else 0:08d}"
    if not keep:
        shutil.rmtree(following, ignore_errors=True)
    return following


def switch(path: Path, generation: Path) -> None:
    """Let a generation serve from now on, and delete all others; who reads them goes on with what it has open."""
    sync(generation)
    sync(path)
    write_text(path / _CURRENT, generation.name)
    sync(path)
    for other in path.iterdir():
        if other.is_dir() and other.name.isdigit() and other != generation:
            shutil.rmtree(other, ignore_errors=True)
