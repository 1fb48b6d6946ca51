"""Stores by URL: a new kind is one file, and one line here."""

from collections.abc import Callable
from pathlib import Path

from marm.errors import SettingError
from marm.store.arena import ArenaStore
from marm.store.base import Layout, Store
from marm.store.generations import serving
from marm.store.lmdb import LmdbStore

_KINDS: dict[str, Callable[[str, Layout, Path, bool], Store]] = {
    "arena": lambda place, layout, base, readonly: ArenaStore(layout),
    "lmdb": lambda place, layout, base, readonly: LmdbStore(base / place, layout, readonly),
}


def open_store(url: str, layout: Layout, base: Path, readonly: bool = False) -> Store:
    """Open the store that ``memory.url`` names; relative places are below ``base``. SettingError for no such kind."""
    kind, place = _parsed(url)
    return _KINDS[kind](place, layout, base, readonly)


def missing_store(url: str, base: Path) -> Path | None:
    """Where the store would lie that is not there; None where it is, or has no place and dies with its process."""
    _, place = _parsed(url)
    return base / place if place and not (base / place).exists() else None


def generation_of(url: str, base: Path) -> str:
    """Name of the generation that serves now; empty for a store that has none."""
    kind, place = _parsed(url)
    found = serving(base / place) if kind == "lmdb" else None
    return found.name if found else ""


def _parsed(url: str) -> tuple[str, str]:
    kind, mark, place = url.partition("://")
    if not mark or kind not in _KINDS:
        known = ", ".join(f"{name}://" for name in _KINDS)
        raise SettingError(f'memory.url = "{url}": no such store; known are {known}')
    if bool(place) == (kind == "arena"):
        wanted = "arena://" if kind == "arena" else f"{kind}://folder or {kind}:///absolute/folder"
        raise SettingError(f'memory.url = "{url}": give {wanted}')
    return kind, place
