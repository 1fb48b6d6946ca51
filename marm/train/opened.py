"""A run folder's store, opened to be looked through or changed by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.files import replacing, sync
from marm.memory.memory import RingShape
from marm.store import ArenaStore, LmdbStore, Store, generations, open_store
from marm.train.applied import catch_up
from marm.train.cut import Cut
from marm.train.folder import held, run_of
from marm.train.setup import check_store, family, kept_for, ring_shape
from marm.types import I64, U64

if TYPE_CHECKING:
    from marm.store.redis import RedisStore

ROWS_AT_ONCE = 50_000
"""Rows of facts read in one go."""


@dataclass(frozen=True)
class Opened:
    """The newest cut of a run, and its store."""

    folder: Path
    run: RunConfig
    log: EventLog
    cut: Cut
    shape: RingShape
    store: Store

    def beside(self, keep: bool = False) -> Store:
        """An empty store of the same kind that may take over; ``keep``: with what an earlier try put into it."""
        layout = self.store.layout
        if isinstance(self.store, LmdbStore):
            return LmdbStore(self.store.path, layout, generation=generations.beside(self.store.path, keep))
        return ArenaStore(layout) if isinstance(self.store, ArenaStore) else in_redis(self.store).beside(keep)

    def take_over(self, fresh: Store) -> None:
        """Let another store serve from now on, as the one of the newest cut."""
        if isinstance(fresh, ArenaStore):
            fresh.stamp(self.cut.number)
            replace_dump(fresh, self.cut.path / "store")
        elif isinstance(fresh, LmdbStore):
            fresh.take_over(self.cut.number)
        else:
            in_redis(fresh).take_over(self.cut.number)

    def name_of(self, users: U64) -> list[str]:
        """Users as the log has them, or as hashes where it has them no more."""
        names = original_users(self.log, users)
        return [names.get(user, f"hash {user:016x}") for user in users.tolist()]


def in_redis(store: Store) -> "RedisStore":
    """A store that is neither of the others."""
    from marm.store.redis import RedisStore  # where one is open, redis-py is installed

    assert isinstance(store, RedisStore)
    return store


def replace_dump(store: ArenaStore, path: Path) -> None:
    """Write a dump beside, make it durable and rename."""
    with replacing(path) as beside:
        store.dump(beside)
        sync(beside)


def original_users(log: EventLog, users: U64) -> dict[int, str]:
    """What the log calls these users, read from its parts; who is not in it is left out."""
    wanted, found = set(users.tolist()), dict[int, str]()
    for lo, hi in log.parts():
        if not wanted:
            break
        here = log.read(lo, hi).user
        at = np.flatnonzero(np.isin(here, np.fromiter(wanted, np.uint64)))
        if len(at):
            names = log.originals(lo, hi)["user"].gather(at).to_list()
            found |= {user: str(name) for user, name in zip(here[at].tolist(), names, strict=True)}
            wanted -= found.keys()
    return found


@contextmanager
def to_read(folder: Path) -> Iterator[Opened]:
    """The store as its newest cut has it, or as far as whoever trains has come. Errors: ``FolderError``."""
    opened = _open(folder, readonly=True)
    if isinstance(opened.store, ArenaStore):
        opened.store.load(opened.cut.path / "store")
    try:
        yield opened
    finally:
        opened.store.close()


@contextmanager
def to_change(folder: Path) -> Iterator[Opened]:
    """The store, held for this process and brought to the newest cut. Errors: ``FolderError`` where another one holds it."""
    with held(folder), hold_open(folder) as opened:
        yield opened


@contextmanager
def hold_open(folder: Path) -> Iterator[Opened]:
    """The same for who holds the folder already."""
    opened = _open(folder, readonly=False)
    try:
        catch_up(opened.store, opened.cut, opened.run.memory.url)
        yield opened
    finally:
        opened.store.close()


def _open(folder: Path, readonly: bool) -> Opened:
    run, cut = run_of(folder), Cut(folder)
    log = EventLog(folder / "events")
    shape = ring_shape(run, log)
    check_store(run.memory.url, folder)
    store = open_store(run.memory.url, shape.layout(family(run)), folder, readonly, kept_for(run))
    return Opened(folder, run, log, cut, shape, store)


def ranges(next_: I64, kept: int) -> list[slice]:
    """Users in ranges of about as many rows of facts as fit in one reading."""
    ends = np.cumsum(np.minimum(next_, kept))
    total = int(ends[-1]) if len(ends) else 0
    goals = np.arange(ROWS_AT_ONCE, total + ROWS_AT_ONCE, ROWS_AT_ONCE)
    bounds = np.unique(np.concatenate([[0], np.searchsorted(ends, goals, side="left") + 1]).clip(0, len(next_)))
    return [slice(int(lo), int(hi)) for lo, hi in pairwise(bounds)]
