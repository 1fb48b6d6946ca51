"""Generated logs to measure with: who comes when decides how long segments are; items and outcomes are drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.config.load import check_run
from marm.types import I64

START = 1_600_000_000
ITEMS = 10_000
PICTURE = 16

PLAIN: dict[str, dict[str, Any]] = {
    "tasks": {"click": {"column": "click"}},
    "features": {"item": {"category": "category"}},
}
"""Item id and one category, one task."""

FULL: dict[str, dict[str, Any]] = {
    "tasks": {
        "click": {"column": "click"},
        "like": {"column": "like"},
        "watch": {"column": "watch", "kind": "regression"},
    },
    "features": {"item": {"category": "category", "genres": "tags", "price": "number", "picture": "vector"}},
    "model": {"token_shift": True, "raw_rows": True},
}
"""Every kind of item feature, three tasks, and all that can travel beside a row of history."""


def interleaved(users: int, events: int) -> I64:
    """Users at random: segments fall short."""
    return np.random.default_rng(0).integers(0, users, events)


def in_runs(users: int, events: int, run: int = 16) -> I64:
    """Each user in turn, ``run`` events one after the other: segments fall that long."""
    return np.arange(events) // run % users


def in_rounds(users: int, events: int) -> I64:
    """Every user once in each round, in random order: after k rounds each has exactly k events."""
    rounds = -(-events // users)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(users), (rounds, 1)), axis=1)
    return order.reshape(-1)[:events]


def write_log(folder: Path, user: I64, items: int = ITEMS, all_seen: bool = False) -> None:
    """``log.parquet``, one event a second by the users in this order, and ``items.parquet``; ``all_seen``: of every item."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    events = len(user)
    # Squared, so that some items are seen far more often than others.
    item = (random.random(events) ** 2 * items).astype(np.int64)
    if all_seen:
        item[random.choice(events, items, replace=False)] = np.arange(items)
    click = random.random(events) < 0.2 + 0.4 * ((user + item) % 3 == 0)
    columns = {
        "user": user,
        "item": item,
        "time": START + np.arange(events),
        "click": click.astype(np.int8),
        "like": (click & (random.random(events) < 0.3)).astype(np.int8),
        "watch": random.exponential(1 + click).astype(np.float32),
    }
    pl.DataFrame(columns).write_parquet(folder / "log.parquet")
    _items(random, items).write_parquet(folder / "items.parquet")


def _items(random: np.random.Generator, items: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": np.arange(items),
            "category": [f"c{c}" for c in random.integers(0, 100, items)],
            "genres": [[f"g{g}" for g in row] for row in random.integers(0, 20, (items, 3))],
            "price": random.exponential(20, items),
            "picture": random.normal(size=(items, PICTURE)).astype(np.float32).tolist(),
        }
    )


def run_over(folder: Path, recipe: dict[str, dict[str, Any]], **sections: dict[str, Any]) -> RunConfig:
    """Settings for a log of ``write_log``; ``sections`` are laid over the recipe."""
    raw: dict[str, dict[str, Any]] = {
        "data": {
            "path": str(folder),
            "log": "log.parquet",
            "user": "user",
            "item": "item",
            "time": "time",
            "items": {"file": "items.parquet", "id": "id"},
        },
        **recipe,
    }
    for section, values in sections.items():
        raw[section] = {**raw.get(section, {}), **values}
    return check_run(raw, "benchmark")
