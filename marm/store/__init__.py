"""Rings of fixed-width rows for many users, behind one small contract."""

from marm.store.arena import ArenaStore
from marm.store.base import Facts, Holding, Layout, Rows, Space, Store, StoreStats
from marm.store.lmdb import LmdbStore
from marm.store.near import Near
from marm.store.open import is_remote, missing_store, open_store, read_through

__all__ = [
    "ArenaStore",
    "Facts",
    "Holding",
    "Layout",
    "LmdbStore",
    "Near",
    "Rows",
    "Space",
    "Store",
    "StoreStats",
    "is_remote",
    "missing_store",
    "open_store",
    "read_through",
]
