"""What a run folder holds, in a form that can be compared bit for bit."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from marm.data.stream import EventLog
from marm.train.cut import Cut
from marm.train.finished import open_run
from marm.train.run import run_of

SPEEDS = {"seconds", "events_per_s", "peak_rss_bytes", "machine", "lag"}
"""What may differ between two runs that are otherwise the same."""


def predictions(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "predictions.parquet")


def without_speeds(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in SPEEDS}


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def metric_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Dense weights, table and optimizer of the newest cut."""
    return parts(folder, "model", "table", "optimizer")


def parts(folder: Path, *names: str) -> dict[str, torch.Tensor]:
    """Tensors of the newest cut's files."""
    cut = Cut(folder)
    return {f"{name}.{k}": v for name in names for k, v in cut.tensors(name).items()}


def stages(folder: Path) -> dict[str, torch.Tensor]:
    """All that the newest cut holds of the stages before ranking, where there are any."""
    return parts(folder, *Cut(folder).state.get("stages", {}))


def remembered(folder: Path) -> dict[int, tuple[Any, ...]]:
    """Every user's ring, facts and states row by row, read from the store."""
    run, log = run_of(folder), EventLog(folder / "events")
    with tempfile.TemporaryDirectory() as scratch:
        store = open_run(folder, Path(scratch), log, run, copy=False).store
        held = store.holding()
        rings = {}
        for i in np.argsort(held.users):
            facts = store.read_facts(held.users[i : i + 1], store.layout.facts_kept)
            states, there = store.read_states(held.users[i : i + 1], facts.first, facts.counts)
            bounds = (int(held.next[i]), int(held.states_from[i]), int(held.seen[i]))
            rings[int(held.users[i])] = (*bounds, facts.facts.tobytes(), states.tobytes(), there.tobytes())
        store.close()
    return rings


def assert_same_run(one: Path, other: Path) -> None:
    """Two run folders ended the same, bit for bit; speeds and the machine aside."""
    assert predictions(one).equals(predictions(other))
    first, second = (weights(folder) | stages(folder) for folder in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert _without_place(result(one)) == _without_place(result(other))
    assert [without_speeds(line) for line in metric_lines(one)] == [
        without_speeds(line) for line in metric_lines(other)
    ]
    assert remembered(one) == remembered(other)
    assert Cut(one).state.get("stages") == Cut(other).state.get("stages")


def _without_place(told: dict[str, Any]) -> dict[str, Any]:
    """A result without speeds, and without what depends on where memory lies."""
    config = {**told["config"], "memory": {**told["config"]["memory"], "url": ""}}
    return without_speeds({**told, "config": config, "config_hash": ""})


def digest(folder: Path) -> dict[str, str]:
    """Hash of every file but LMDB's lock, which readers write."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock.mdb"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
