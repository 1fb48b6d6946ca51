"""Stores by URL: a new kind is one file, and one line here."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from marm.config.memory import REMOTE
from marm.errors import SettingError
from marm.store.arena import ArenaStore
from marm.store.base import Layout, Store
from marm.store.lmdb import LmdbStore
from marm.store.near import Near
from marm.store.redis_url import address_of


def _redis(kind: str, place: str, layout: Layout, base: Path, readonly: bool, ttl: float) -> Store:
    address = address_of(kind, place)
    try:
        from marm.store.redis import RedisStore
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise SettingError(
            f'memory.url = "{address.url}": needs redis-py: `pip install "marm-recsys[redis]"`'
        ) from None
    return RedisStore(address, layout, readonly, ttl)


_KINDS: dict[str, Callable[[str, Layout, Path, bool, float], Store]] = {
    "arena": lambda place, layout, base, readonly, ttl: ArenaStore(layout),
    "lmdb": lambda place, layout, base, readonly, ttl: LmdbStore(base / place, layout, readonly),
    **{kind: partial(_redis, kind) for kind in REMOTE},
}


def open_store(url: str, layout: Layout, base: Path, readonly: bool = False, ttl: float = 0.0) -> Store:
    """Open the store that ``memory.url`` names; relative places are below ``base``. SettingError for no such kind.

    ``ttl``: seconds of the clock that Redis keeps a user after an append by this store; 0: for ever.
    """
    kind, place = _parsed(url)
    return _KINDS[kind](place, layout, base, readonly, ttl)


def is_remote(url: str) -> bool:
    """Whether what it names lies on servers, so that a reading takes the time of a way there and back."""
    return url.partition("://")[0] in REMOTE


def read_through(near: Near, store: Store) -> Store:
    """A store of ``redis://`` that sends nothing of users who have not changed since they were read."""
    from marm.store.read_through import ReadThrough
    from marm.store.redis import RedisStore

    assert isinstance(store, RedisStore)
    return ReadThrough(store, near)


def missing_store(url: str, base: Path) -> Path | None:
    """Where the store would lie that is not there; None where it is, or is no folder."""
    kind, place = _parsed(url)
    return base / place if kind == "lmdb" and not (base / place).exists() else None


def _parsed(url: str) -> tuple[str, str]:
    kind, mark, place = url.partition("://")
    if not mark or kind not in _KINDS:
        known = ", ".join(f"{name}://" for name in _KINDS)
        raise SettingError(f'memory.url = "{url}": no such store; known are {known}')
    if bool(place) == (kind == "arena"):
        wanted = {"arena": "arena://", "lmdb": "lmdb://folder or lmdb:///absolute/folder"}.get(
            kind, f"{kind}://host:port"
        )
        raise SettingError(f'memory.url = "{url}": give {wanted}')
    return kind, place
