"""What a run folder's memory holds: looked through without disturbing it, checked, and made compact."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from marm.store import ArenaStore, LmdbStore, Store
from marm.store.rings import Bounds, places_from
from marm.train.opened import Opened, ranges, to_change, to_read
from marm.train.tally import quantile
from marm.types import I64, U64

_AGES = 2**16
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_RECENT = 0.2
"""Of the stream's time, from which growth is forecast."""


def memory_stats(folder: Path) -> dict[str, Any]:
    """Users, rows and bytes, by user and by depth; ages in steps and in the stream's time; and how fast it grows."""
    with to_read(folder) as opened:
        shape, store, layout = opened.shape, opened.store, opened.store.layout
        holding, stats = store.holding(), store.stats()
        bounds = Bounds(holding.next, holding.states_from)
        rows = holding.next - bounds.states_floor(layout)
        facts_rows = holding.next - bounds.facts_floor(layout)
        steps, hours, recent = _ages(opened, holding.users, holding.next)
        space = store.space()
        per_user = rows * layout.state_bytes + facts_rows * layout.facts_bytes
    fill = stats.rows / max(stats.users * shape.capacity, 1)
    each: dict[str, Any] = {
        "rows": stats.rows,
        "bytes": stats.rows * layout.state_bytes // max(shape.depths, 1),
        "fill": fill,
    }
    each |= {f"age_steps_{name}": quantile(steps, share) for name, share in (("p50", 0.5), ("p90", 0.9))}
    each |= {f"age_hours_{name}": quantile(hours, share) for name, share in (("p50", 0.5), ("p90", 0.9))}
    return {
        "url": opened.run.memory.url,
        "cut": opened.cut.number,
        "users": stats.users,
        "rows": stats.rows,
        "facts_rows": stats.facts_rows,
        "bytes": stats.bytes,
        "bytes_on_disk": _on_disk(store),
        "space": asdict(space),
        "bytes_per_user": stats.bytes / max(stats.users, 1),
        "user_bytes": {name: _at(per_user, share) for name, share in (("p50", 50), ("p90", 90), ("max", 100))},
        "growth": _growth(opened, recent),
        "damaged_users": len(store.damaged),
        "depths": [{"depth": d + 1, **each} for d in range(shape.depths)],
    }


def _ages(opened: Opened, users: U64, next_: I64) -> tuple[I64, I64, int]:
    """Histograms over rows with states, of steps and of hours since they were made; and rows of the newest fifth of time."""
    shape, store, log = opened.shape, opened.store, opened.log
    steps, hours, recent = np.zeros(_AGES, np.int64), np.zeros(_AGES, np.int64), 0
    since = log.manifest.last_time - int(_RECENT * _span(opened))
    for part in ranges(next_, shape.facts_kept):
        found = store.read_facts(users[part], shape.facts_kept)
        facts = found.facts.view(shape.facts).reshape(-1)
        recent += int((facts["time"] > since).sum())
        position = places_from(found.first, found.counts)
        floor = np.maximum(found.states_from, found.next - store.layout.states_kept)
        made = facts[position >= np.repeat(floor, found.counts)]
        age = opened.cut.state["steps"] - made["version"].astype(np.int64)
        steps += np.bincount(age.clip(0, _AGES - 1), minlength=_AGES)
        hours += np.bincount(((log.manifest.last_time - made["time"]) // _HOUR).clip(0, _AGES - 1), minlength=_AGES)
    return steps, hours, recent


def _span(opened: Opened) -> int:
    manifest = opened.log.manifest
    return max(manifest.last_time - manifest.first_time, 1)


def _growth(opened: Opened, recent: int) -> dict[str, Any]:
    """What a day of the stream brings, going by its newest fifth; rings that are full take no more room for states."""
    layout, days = opened.store.layout, _RECENT * _span(opened) / _DAY
    a_day = recent / days
    most = a_day * (layout.facts_bytes + layout.state_bytes)
    return {"rows_a_day": round(a_day, 1), "bytes_a_day_at_most": round(most), "state_budget": opened.run.memory.budget}


def _at(values: I64, share: int) -> int:
    return int(np.percentile(values, share, method="lower")) if len(values) else 0


def _on_disk(store: Store) -> int | None:
    if not isinstance(store, LmdbStore):
        return None
    return sum(path.stat().st_size for path in (store.path / store.generation).iterdir())


def check(store: Store, kept: int, progress: Callable[[dict[str, Any]], None]) -> U64:
    """Read all that a store holds; users whose bytes are wrong, rising."""
    holding = store.holding()
    parts = ranges(holding.next, kept)
    for number, part in enumerate(parts):
        users = holding.users[part]
        store.read_facts(users, kept)
        states = np.minimum(holding.next[part], store.layout.states_kept)
        store.read_states(users, holding.next[part] - states, states)
        progress({"events": number + 1, "total": len(parts)})
    return np.sort(np.fromiter(store.damaged, np.uint64))


def verify(folder: Path, drop: bool, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Check every row that can be read against its sum; ``drop``: forget users of wrong ones, in the run and for good."""
    with (to_change if drop else to_read)(folder) as opened:
        damaged = check(opened.store, opened.shape.facts_kept, progress)
        names = opened.name_of(damaged)
        if drop and len(damaged):
            _drop(opened, damaged)
        stats = opened.store.stats()
    return {"users": stats.users, "rows": stats.rows, "damaged": names, "dropped": len(names) if drop else 0}


def _drop(opened: Opened, users: U64) -> None:
    opened.store.forget(users)
    if isinstance(opened.store, ArenaStore):
        opened.take_over(opened.store)


def compact(folder: Path) -> dict[str, Any]:
    """Write a store anew without what is free in it, and let that one serve. Errors: ``FolderError`` while someone trains."""
    with to_change(folder) as opened:
        before = _on_disk(opened.store)
        if not isinstance(opened.store, LmdbStore):
            return {"bytes_before": before, "bytes_after": before}
        check(opened.store, opened.shape.facts_kept, lambda _: None)
        fresh = opened.beside()
        assert isinstance(fresh, LmdbStore)
        opened.store.copy_rows(fresh)
        opened.take_over(fresh)
        after = _on_disk(fresh)
        fresh.close()
    return {"bytes_before": before, "bytes_after": after}
