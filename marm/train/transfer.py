"""Memory as a Parquet file, and back: facts, and states where they are wanted and the model is the same.

One row for each event of a user, in order of user and position. Users and items are the hashes that all of marm goes by
(`marm/data/ids.py`); times are microseconds; ``state`` holds the coded bytes, null where there is none.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from polars.io.plugins import register_io_source

from marm.errors import DataError
from marm.files import replacing
from marm.store import Holding, LmdbStore, Rows, Store
from marm.store.rings import places_from
from marm.train.opened import Opened, ranges, to_change, to_read

_PLAIN = {"time": pl.Int64, "known": pl.Int64, "item": pl.UInt64, "version": pl.UInt32, "outcome": pl.Int16}
_AT_ONCE = 50_000


def export(folder: Path, out: Path, states: bool = True) -> dict[str, Any]:
    """Write a run's memory to a Parquet file, beside and renamed. Errors: ``DiskError``."""
    with to_read(folder) as opened:
        held = opened.store.holding()
        order = np.argsort(held.users)
        held = Holding(held.users[order], held.next[order], held.states_from[order], held.seen[order])
        parts = ranges(held.next, opened.shape.facts_kept)

        def source(columns: Any, predicate: Any, rows: int | None, size: int | None) -> Iterator[pl.DataFrame]:
            for part in parts:
                yield _frame(opened, held, part, states)

        schema = _frame(opened, held, slice(0, 0), states).schema
        with replacing(out) as beside:
            register_io_source(source, schema=schema).sink_parquet(beside, metadata={"marm": _about(opened)})
        stats = opened.store.stats()
    return {"users": stats.users, "facts_rows": stats.facts_rows, "rows": stats.rows if states else 0, "out": str(out)}


def _about(opened: Opened) -> str:
    columns = list(opened.shape.item_columns)
    return json.dumps({"model": opened.store.layout.model, "item_columns": columns, "steps": opened.cut.state["steps"]})


def _frame(opened: Opened, held: Holding, part: slice, states: bool) -> pl.DataFrame:
    shape, store, users = opened.shape, opened.store, held.users[part]
    found = store.read_facts(users, shape.facts_kept)
    facts = found.facts.view(shape.facts).reshape(-1)
    position = places_from(found.first, found.counts)
    columns: dict[str, Any] = {
        "user": np.repeat(users, found.counts),
        "position": position,
        "seen": np.repeat(held.seen[part], found.counts),
        **{name: pl.Series(np.ascontiguousarray(facts[name]), dtype=kind) for name, kind in _PLAIN.items()},
        **{name: np.ascontiguousarray(facts["columns"][:, c]) for c, name in enumerate(_logged(opened))},
        **{name: np.ascontiguousarray(facts["keys"][:, c]) for c, name in enumerate(_keys(opened))},
    }
    frame = pl.DataFrame(columns)
    if states:
        coded, there = store.read_states(users, found.first, found.counts)
        frame = frame.with_columns(state=_binary(coded, there))
    return frame


def _logged(opened: Opened) -> list[str]:
    return [f"column_{name}" for name in opened.shape.item_columns]


def _keys(opened: Opened) -> list[str]:
    """What a search knows rows by."""
    return [f"key_{number}" for number in range(opened.shape.keys)]


def _binary(coded: np.ndarray, there: np.ndarray) -> pl.Series:
    width = coded.shape[1]
    raw = coded.tobytes()
    cells = [
        raw[at : at + width] if is_there else None
        for at, is_there in zip(range(0, len(raw), width or 1), there, strict=False)
    ]
    return pl.Series("state", cells if width else [None] * len(there), dtype=pl.Binary)


def import_(folder: Path, path: Path) -> dict[str, Any]:
    """Put an exported file's users, those that are not there yet, into a run's memory; all of them or none.

    States are taken where the same model made them; else rows come without, and attend by the fall-back until rebuilt.
    """
    about = _read_about(path)
    with to_change(folder) as opened:
        lacking = [name for name in opened.shape.item_columns if name not in about["item_columns"]]
        if lacking:
            raise DataError(f"{path}: has no column_{lacking[0]}, which this run's items are logged with")
        same = about["model"] == opened.store.layout.model
        if opened.shape.keys and not same:
            raise DataError(
                f"{path}: another model's rows, which this run's memory.search could not find: export from its own"
            )
        fresh = opened.beside()
        try:
            counts = _fill(opened, fresh, path, same)
            opened.take_over(fresh)
        finally:
            fresh.close()
    return counts | {"states": same}


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(pl.read_parquet_metadata(path)["marm"])
    except (OSError, KeyError, ValueError, PolarsError) as error:
        raise DataError(f"{path}: no Parquet file that `marm memory export` wrote ({error})") from None
    return about


def _fill(opened: Opened, fresh: Store, path: Path, same: bool) -> dict[str, Any]:
    """What the run's store holds, then the file's users that it does not."""
    there = opened.store.holding().users
    if isinstance(opened.store, LmdbStore) and isinstance(fresh, LmdbStore):
        opened.store.copy_rows(fresh)
    else:
        held = opened.store.holding()
        for part in ranges(held.next, opened.shape.facts_kept):
            fresh.append(_part(opened, held, part), fresh.last_cut() + 1)
    rows, new, begins = pl.scan_parquet(path), set[int](), dict[int, int]()
    for at in range(0, rows.select(pl.len()).collect().item(), _AT_ONCE):
        frame = rows.slice(at, _AT_ONCE).collect()
        frame = frame.filter(pl.Series(~np.isin(frame["user"].to_numpy(), there)))
        if frame.height:
            fresh.append(_rows(opened, frame, same, begins), fresh.last_cut() + 1)
            new |= set(frame["user"].unique().to_list())
    skipped = rows.select(pl.col("user").n_unique()).collect().item() - len(new)
    return {"users": len(new), "users_there_already": skipped}


def _part(opened: Opened, held: Holding, part: slice) -> Rows:
    """Everything that a store holds of some users, damaged ones left out."""
    users = held.users[part]
    found = opened.store.read_facts(users, opened.shape.facts_kept)
    states, _ = opened.store.read_states(users, found.first, found.counts)
    here = (found.next > 0) & ~np.isin(users, np.fromiter(opened.store.damaged, np.uint64))
    rows = Rows(users, found.first, found.counts, found.facts, states, held.states_from[part], held.seen[part])
    return rows.of(here)


def _rows(opened: Opened, frame: pl.DataFrame, same: bool, begins: dict[int, int]) -> Rows:
    """A slice of the file; a user's ring begins at 0 here, wherever it did. ``begins``: where that was, for later slices."""
    shape = opened.shape
    users, first, counts = np.unique(frame["user"].to_numpy(), return_index=True, return_counts=True)
    position = frame["position"].to_numpy()
    for user, at in zip(users.tolist(), first.tolist(), strict=True):
        begins.setdefault(user, int(position[at]))
    begin = np.array([begins[user] for user in users.tolist()])
    facts = np.zeros(frame.height, shape.facts)
    for name in _PLAIN:
        facts[name] = frame[name].to_numpy()
    for c, name in enumerate(_logged(opened)):
        facts["columns"][:, c] = frame[name].to_numpy()
    for c, name in enumerate(_keys(opened)):
        facts["keys"][:, c] = frame[name].to_numpy()
    states, states_from = _states(frame, shape.state_bytes, same, first, counts)
    seen = np.minimum(frame["seen"].to_numpy()[first], opened.cut.state["position"])
    begun = position[first] - begin
    as_bytes = facts.view(np.uint8).reshape(len(facts), -1)
    return Rows(users, begun, counts, as_bytes, states, begun + states_from, seen)


def _states(frame: pl.DataFrame, width: int, same: bool, first: Any, counts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coded states, zeros where there is none, and how many of each user's first rows have none."""
    out = np.zeros((frame.height, width), np.uint8)
    if not same or "state" not in frame.columns or not width:
        return out, np.asarray(counts)
    there = frame["state"].is_not_null().to_numpy()
    out[there] = np.frombuffer(b"".join(frame["state"].drop_nulls().to_list()), np.uint8).reshape(-1, width)
    missing = np.add.reduceat(~there, first).astype(np.int64)
    return out, missing
