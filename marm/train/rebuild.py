"""All states of all users made anew with today's weights, into a store beside the one that serves, which then takes over.

Progress is the number of ranges of users that the new store holds, written with the range itself: after a kill the next
start goes on with the range after. A store in this process's memory (``arena://``) is rebuilt in one go.
"""

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.data.journal import ItemJournal
from marm.engine.engine import Engine
from marm.engine.fresh import fresh_states, newest_of, rows_needed
from marm.files import write_text
from marm.memory.budget import Budget
from marm.memory.memory import rows_as_bytes
from marm.nn.dense import steady_rows
from marm.store import ArenaStore, Holding, LmdbStore, Rows, Store
from marm.train.cut import load_weights
from marm.train.opened import Opened, in_redis, ranges, to_change
from marm.train.setup import build, set_threads, threads_of
from marm.types import U64, Bool

_NOTE = "rebuild.json"


def rebuild(folder: Path, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Rebuild a run's memory; what it did. Errors: ``FolderError`` where another process trains in it, ``SettingError``."""
    began = time.perf_counter()
    with to_change(folder) as opened, closing(_begin(opened)) as fresh:
        engine = _engine(opened)
        held = _in_order(opened.store.holding())
        keeps, made = _keeps(opened, held), 0
        parts = ranges(held.next, opened.shape.facts_kept)
        done = fresh.last_cut() + 1
        for number in range(done, len(parts)):
            part = parts[number]
            rows = remade(engine, opened.store, held.users[part], held.seen[part], keeps[part])
            made += int((rows.first + rows.counts - rows.states_from).sum())
            fresh.append(rows, number)
            progress({"events": number + 1, "total": len(parts)})
        opened.take_over(fresh)
        stats = fresh.stats()
    seconds = time.perf_counter() - began
    return {
        "users": stats.users,
        "rows": stats.rows,
        "made": made,
        "ranges_done_before": done,
        "rows_per_s": round(made / seconds, 1),
        "seconds": round(seconds, 2),
        "steps": engine.version,
    }


def _begin(opened: Opened) -> Store:
    """The new store, empty or as an interrupted rebuild of the same cut left it."""
    note = json.dumps({"cut": opened.cut.number, "steps": opened.cut.state["steps"]})
    fresh = opened.beside(keep=True)
    if isinstance(fresh, ArenaStore):
        return fresh
    if _noted(fresh) != note:
        fresh.close()
        fresh = opened.beside()
        _put_note(fresh, note)
    return fresh


def _noted(fresh: Store) -> str | None:
    if not isinstance(fresh, LmdbStore):
        return in_redis(fresh).note
    path = _note_file(fresh)
    return path.read_text(encoding="utf-8") if path.exists() else None


def _put_note(fresh: Store, note: str) -> None:
    if isinstance(fresh, LmdbStore):
        write_text(_note_file(fresh), note)
    else:
        in_redis(fresh).note = note


def _note_file(fresh: LmdbStore) -> Path:
    return fresh.path / fresh.generation / _NOTE


def _engine(opened: Opened) -> Engine:
    threads = set_threads(opened.run, threads_of(opened.cut.state))
    # Of the run's parts only the engine is wanted; its own memory stays empty.
    engine = build(opened.run, opened.log, opened.folder, threads, url="arena://").engine
    load_weights(engine.model, engine.table, opened.cut)
    engine.show_items(ItemJournal(opened.folder, opened.log).at(opened.cut.state.get("items", 0)))
    engine.model.eval()
    engine.version = opened.cut.state["steps"]
    return engine


def _in_order(held: Holding) -> Holding:
    order = np.argsort(held.users)
    return Holding(held.users[order], held.next[order], held.states_from[order], held.seen[order])


def _keeps(opened: Opened, held: Holding) -> Bool:
    """Whose states are within ``memory.budget``, were all of them there: the most recently active users'."""
    shape = opened.shape
    budget = Budget(opened.run.memory.budget, shape.state_bytes, shape.capacity)
    budget.adopt(Holding(held.users, held.next, np.zeros_like(held.next), held.seen))
    dropped: U64 = budget.drop()[0]
    return ~np.isin(held.users, dropped)


def remade(engine: Engine, store: Store, users: U64, seen: np.ndarray, keeps: Bool) -> Rows:
    """All that a store holds of users, with states made by the engine's weights of those that shall have some."""
    shape = engine.memory.shape
    found = store.read_facts(users, shape.facts_kept)
    here = found.next > 0  # damaged ones are left out
    users, seen, keeps = users[here], seen[here], keeps[here]
    counts, next_, first = found.counts[here], found.next[here], found.first[here]
    facts = found.facts.view(shape.facts).reshape(-1).copy()
    states = np.zeros((len(facts), shape.state_bytes), np.uint8)
    kept = np.where(keeps, np.minimum(counts, shape.capacity), 0)
    # Signatures lie with the facts: a search goes by them where there is no state, too.
    made = np.minimum(counts, shape.capacity) if _signed(engine.run) else kept
    if made.any() and (shape.depths or shape.keys):
        needed = np.where(made > 0, np.minimum(counts, rows_needed(engine, made)), 0)
        at, inner = newest_of(counts, needed), newest_of(needed, made)
        with steady_rows():
            anew = fresh_states(engine, needed[needed > 0], facts[at])
        if shape.keys:
            facts["keys"][at[inner]] = anew.keys[inner]
        at, inner = newest_of(counts, kept), newest_of(needed, kept)
        states[at] = rows_as_bytes(anew.states[inner].cpu().numpy())
        facts["version"][at] = engine.version
    return Rows(users, first, counts, facts.view(np.uint8).reshape(len(facts), -1), states, next_ - kept, seen)


def _signed(run: RunConfig) -> bool:
    return run.memory.search is not None and run.memory.search.rule == "hash"
