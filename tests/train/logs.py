"""Small generated logs with everything that a run file can name, and runs of tiny models over them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.config.load import check_run

START = 1_600_000_000
FEATURES = {
    "item": {"genres": "tags", "brand": "category", "price": "number", "picture": "vector", "shelf": "category"},
    "user": {"region": "category", "age": {"kind": "number", "linear": True}},
    "context": {"page": "category", "hour": "number", "query": "vector"},
}
"""``shelf`` is an item feature that stands in the log; the others of items and users stand in their files."""

STAGES: dict[str, Any] = {
    "retrieval": {
        "measured": 1.0,
        "window": 6,
        "negatives": 20,
        "recent": 40,
        "refresh": 2,
        "interests": 2,
        "found": 12,
        "near": 3,
    },
    "cascading": {"measured": 0.5, "window": 4, "sampled": 0.3, "unexposed": 5, "given": 5},
}
"""Both stages in small, measured at every event or every other."""


def log_frame(seed: int = 0, events: int = 200, users: int = 12, items: int = 20) -> pl.DataFrame:
    """A log in time order: ties of one user and of many, repeats, both kinds of outcome, some not observed."""
    rng = np.random.default_rng(seed)
    time = START + np.cumsum(rng.integers(0, 40, events) * (rng.random(events) > 0.4))
    user = rng.integers(0, users, events)
    user[1:] = np.where(rng.random(events - 1) < 0.3, user[:-1], user[1:])
    item = rng.integers(0, items, events)
    liked = rng.random((users, items)) < 0.5
    click = (rng.random(events) < np.where(liked[user, item], 0.8, 0.2)).astype(np.int64)
    columns: dict[str, Any] = {
        "user": [f"u{u}" for u in user],
        "item": item,
        "time": time,
        "click": click,
        "watch": np.round(rng.random(events) * 4, 3) * (1 + click),
        "delay": rng.integers(0, 200, events),
        "shelf": [f"s{s}" for s in rng.integers(0, 3, events)],
        "page": [f"p{p}" for p in rng.integers(0, 4, events)],
        "hour": rng.integers(0, 24, events).astype(float),
    }
    hidden = pl.Series(rng.random(events) < 0.1)
    frame = pl.DataFrame(columns).with_columns(query=pl.Series(rng.normal(size=(events, 3)).round(3).tolist()))
    return frame.with_columns(watch=pl.when(hidden).then(None).otherwise(pl.col("watch")))


def write_sides(folder: Path, seed: int = 0, users: int = 12, items: int = 20) -> None:
    """The item and user files; the last item has no row, some fields are missing."""
    rng = np.random.default_rng(seed)
    known = items - 1
    pl.DataFrame(
        {
            "id": np.arange(known),
            "genres": [[f"g{g}" for g in rng.integers(0, 4, rng.integers(0, 3))] for _ in range(known)],
            "brand": [None if i % 5 == 4 else f"b{i % 3}" for i in range(known)],
            "price": [None if i % 7 == 6 else float(i * i) for i in range(known)],
            "picture": rng.normal(size=(known, 4)).round(3).tolist(),
        },
        schema_overrides={"genres": pl.List(pl.String)},
    ).write_parquet(folder / "items.parquet")
    ages = [None if u % 4 == 3 else 20.0 + u for u in range(users)]
    users_frame = {"id": [f"u{u}" for u in range(users)], "region": [f"r{u % 2}" for u in range(users)], "age": ages}
    pl.DataFrame(users_frame).write_parquet(folder / "users.parquet")


def write_world(folder: Path, frame: pl.DataFrame | None = None) -> Path:
    """A folder with a log and its side files."""
    folder.mkdir(parents=True, exist_ok=True)
    (log_frame() if frame is None else frame).write_parquet(folder / "log.parquet")
    write_sides(folder)
    return folder


def run_over(folder: Path, **sections: dict[str, Any]) -> RunConfig:
    """A tiny run over a world; sections are laid over, features replaced."""
    raw: dict[str, dict[str, Any]] = {
        "data": {
            "path": str(folder),
            "log": "log.parquet",
            "user": "user",
            "item": "item",
            "time": "time",
            "items": {"file": "items.parquet", "id": "id"},
            "users": {"file": "users.parquet", "id": "id"},
        },
        "tasks": {"click": {"column": "click"}, "watch": {"column": "watch", "kind": "regression"}},
        "features": FEATURES,
        "model": {"layers": 3, "width": 8, "heads": 2, "experts": 2, "tower": 8, "table_rows": 512},
        "memory": {"url": "arena://", "window": 8, "hot": 2**20},
        "train": {
            "live": 6,
            "micro_batch": 16,
            "window_events": 80,
            "cut_every": 80,
            "device": "cpu",
            "threads": 1,
            "warmup": 5,
            "learning_rate": 0.01,
        },
    }
    for section, values in sections.items():
        raw[section] = values if section == "features" else {**raw.get(section, {}), **values}
    return check_run(raw, "run.toml")
