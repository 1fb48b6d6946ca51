"""What a run folder's memory holds, without disturbing it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from marm.data.stream import EventLog
from marm.train.cut import Cut
from marm.train.run import open_run, run_of
from marm.train.tally import quantile

_USERS_AT_ONCE = 4096
_AGES = 2**16


def memory_stats(folder: Path) -> dict[str, Any]:
    """Users, rows and bytes; and for each depth its rows, how full the rings are, and how many steps ago rows were made."""
    run, log, cut = run_of(folder), EventLog(folder / "events"), Cut(folder)
    with TemporaryDirectory(prefix="marm-") as scratch:
        parts = open_run(folder, Path(scratch), log, run, copy=False)
        shape, store = parts.engine.memory.shape, parts.store
        holding, stats = store.holding(), store.stats()
        ages = np.zeros(_AGES, np.int64)
        for low in range(0, len(holding.users), _USERS_AT_ONCE):
            users = holding.users[low : low + _USERS_AT_ONCE]
            found = store.read_facts(users, shape.capacity)
            version = found.facts.view(shape.facts).reshape(-1)["version"].astype(np.int64)
            position = np.repeat(found.first - np.cumsum(found.counts) + found.counts, found.counts)
            there = position + np.arange(len(version)) >= np.repeat(found.states_from, found.counts)
            age = np.minimum(cut.state["steps"] - version[there], _AGES - 1)
            ages += np.bincount(age, minlength=_AGES)
        store.close()
    fill = stats.rows / max(stats.users * shape.capacity, 1)
    depth = {
        "rows": stats.rows,
        "fill": fill,
        "age_steps_p50": quantile(ages, 0.5),
        "age_steps_p90": quantile(ages, 0.9),
    }
    return {
        "url": run.memory.url,
        "cut": cut.number,
        "users": stats.users,
        "rows": stats.rows,
        "facts_rows": stats.facts_rows,
        "bytes": stats.bytes,
        "bytes_per_user": stats.bytes / max(stats.users, 1),
        "depths": [{"depth": d + 1, **depth} for d in range(shape.depths)],
    }
