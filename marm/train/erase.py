"""Erasure: everything that a run folder holds of some users, gone. A journal names them until it is done, and not after.

`erasing.json` is written first; whoever holds the folder next, or now, carries it out, from the beginning if it was
interrupted, since each part can be done twice. Before the first it also names the users' events: once those are gone from
one place, nothing else tells whose the outcomes are that stand in another. `erased.json` counts, so that a server knows to
let go of what it has in mind.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from safetensors.torch import save_file

from marm.data.erase import erase_events, erase_side, erase_told, known_of
from marm.data.ids import hash_text
from marm.data.stream import EventLog
from marm.errors import DiskError, FolderError
from marm.files import replacing, sync, write_text
from marm.metrics.spool import Spool
from marm.store import ArenaStore, LmdbStore
from marm.train.cut import Cut, cut_numbers, rows_tensors
from marm.train.folder import held
from marm.train.opened import Opened, hold_open, replace_dump
from marm.types import U64

_NAP = 0.2
JOURNAL, COUNT = "erasing.json", "erased.json"


def pending(folder: Path) -> bool:
    """Whether an erasure was asked for that is not done."""
    return (folder / JOURNAL).exists()


def erasures(folder: Path) -> int:
    """How many erasures were done."""
    path = folder / COUNT
    return int(json.loads(path.read_text(encoding="utf-8"))["number"]) if path.exists() else 0


def ask(folder: Path, users: U64) -> None:
    """Write down, for good, whom to erase."""
    asked = _asked(folder)
    _write_down(folder, {*asked.users, *users.tolist()}, asked.events)


class _Asked(NamedTuple):
    users: list[int]
    events: list[str]
    """Ids of theirs that were found so far."""


def _asked(folder: Path) -> _Asked:
    told = json.loads((folder / JOURNAL).read_text(encoding="utf-8")) if pending(folder) else {}
    return _Asked(told.get("users", []), told.get("events", []))


def _write_down(folder: Path, users: Iterable[int], events: Iterable[str]) -> None:
    write_text(folder / JOURNAL, json.dumps({"users": sorted(users), "events": sorted(events)}))
    sync(folder)


def users_named(names: Sequence[str]) -> U64:
    """Hashes of users, named as the log names them."""
    return hash_text(pl.Series("user", names, dtype=pl.String))


def users_unseen(folder: Path, seconds: float) -> U64:
    """Users whose last event is older than this, by the stream's time."""
    log = EventLog(folder / "events")
    parts = [pl.DataFrame({"user": e.user, "time": e.time}).group_by("user").agg(pl.max("time"))
             for e in (log.read(lo, hi) for lo, hi in log.parts())]  # fmt: skip
    if not parts:
        return np.zeros(0, np.uint64)
    last = pl.concat(parts).group_by("user").agg(pl.max("time"))
    old = last.filter((pl.col("time") < log.manifest.last_time - int(seconds * 1e6)) & (pl.col("user") > 0))
    return old["user"].to_numpy()


def erase(folder: Path, users: U64, wait: float) -> dict[str, Any]:
    """Erase users; where another process trains in the folder, wait for it to do it, ``wait`` seconds at most.

    ``done`` false: it is written down, and that process or the next one to start does it.
    """
    Cut(folder)  # a folder without a cut is trained from the log again, whatever was erased from it
    ask(folder, users)
    until = time.monotonic() + wait
    while pending(folder):
        try:
            done = finish(folder)
            return {"done": True, **(done or {})}
        except FolderError:
            if time.monotonic() > until:
                return {"done": False}
            time.sleep(_NAP)
    return {"done": True}


def finish(folder: Path) -> dict[str, Any] | None:
    """Carry out what was asked for, if anything; what was erased. Errors: ``FolderError`` where another process is at work."""
    if not pending(folder):
        return None
    with held(folder):
        return carry_out(folder)


def carry_out(folder: Path) -> dict[str, Any] | None:
    """The same for who holds the folder already."""
    if not pending(folder):
        return None
    asked = _asked(folder)
    users = np.array(asked.users, np.uint64)
    if not cut_numbers(folder):
        (folder / JOURNAL).unlink()
        return None
    with hold_open(folder) as opened:
        known = known_of(folder, opened.log, users)
        ids = {*asked.events, *known.ids}
        _write_down(folder, asked.users, ids)
        done = _Erasing(opened, users, ids, known.users).all()
    write_text(folder / COUNT, json.dumps({"number": erasures(folder) + 1}))
    (folder / JOURNAL).unlink()
    sync(folder)
    return done


@dataclass(frozen=True)
class _Erasing:
    """One erasure, place by place; each can be done again."""

    opened: Opened
    users: U64
    ids: set[str]
    """Of their events."""
    known: set[int]
    """Users of whom the folder holds anything beside memory."""

    def all(self) -> dict[str, int]:
        """Everywhere."""
        folder = self.opened.folder
        try:
            events = erase_events(folder / "events", self.opened.log, self.users)
            erase_side(folder / "events", self.users)
            lines = erase_told(folder, self.users, self.ids)
            predictions = self._predictions()
            self._cuts()
            remembered = self._store()
        except OSError as error:
            raise DiskError(folder, error) from None
        told = {"events": events, "lines": lines, "predictions": predictions, "remembered_users": len(remembered)}
        return {"users": len(self.known | remembered), **told}

    def _predictions(self) -> int:
        run, folder = self.opened.run, self.opened.folder
        with Spool(folder / "predictions.spool", list(run.tasks)) as spool:
            count = spool.erase(self.users)
        path = folder / "predictions.parquet"
        if path.exists():
            frame = pl.read_parquet(path)
            mine = np.isin(hash_text(frame["user"]), self.users)
            if mine.any():
                with replacing(path) as beside:
                    frame.filter(pl.Series(~mine)).write_parquet(beside)
                    sync(beside)
        return count

    def _cuts(self) -> None:
        for number in cut_numbers(self.opened.folder):
            cut = Cut(self.opened.folder, number)
            rows = cut.rows()
            keep = ~np.isin(rows.users, self.users)
            if not keep.all() or np.isin(rows.forgotten, self.users).any():
                forgotten = rows.forgotten[~np.isin(rows.forgotten, self.users)]
                kept = replace(rows.of(keep), forgotten=forgotten)
                with replacing(cut.path / "memory.safetensors") as beside:
                    save_file(rows_tensors(kept), beside)
                    sync(beside)
            if isinstance(self.opened.store, ArenaStore):
                dump = ArenaStore(self.opened.store.layout)
                dump.load(cut.path / "store")
                dump.forget(self.users)
                replace_dump(dump, cut.path / "store")

    def _store(self) -> set[int]:
        """Empties it of them; those it held."""
        store = self.opened.store
        there = set(np.intersect1d(store.holding().users, self.users).tolist())
        store.forget(self.users)
        if isinstance(store, LmdbStore):
            fresh = self.opened.beside()
            assert isinstance(fresh, LmdbStore)
            store.copy_rows(fresh)
            self.opened.take_over(fresh)
            fresh.close()
        return there
