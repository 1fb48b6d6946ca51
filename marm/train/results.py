"""What a run leaves behind for people and programs: result.json, predictions.parquet, report.html."""

import hashlib
import os
import platform
import resource
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from polars.io.plugins import register_io_source

from marm.config import RunConfig, to_toml
from marm.data.formats import sink
from marm.data.stream import EventLog
from marm.files import replacing
from marm.metrics.progressive import last_fifth, summarise
from marm.metrics.spool import Spool
from marm.nn.shares import cores
from marm.train.setup import Parts
from marm.train.tally import Tally, quantile

_CHUNK = 2**18


def peak_rss() -> int:
    """Most memory that this process has held, in bytes; what the process that started it held does not count."""
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": cores(),
        "memory_bytes": memory,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def commit() -> str:
    """The checkout's commit, or the release that is installed."""
    try:
        here = Path(__file__).parent
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        try:
            return version("marm-recsys")
        except PackageNotFoundError:
            return "unknown"


def config_hash(run: RunConfig) -> str:
    """Of everything set but the place of the data."""
    text = to_toml(run.model_copy(update={"data": run.data.model_copy(update={"path": "."})}))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def figures(run: RunConfig, spool: Spool) -> dict[str, Any]:
    """The tasks' figures of the last fifth of the events, and of the whole stream."""
    kinds: dict[str, str] = {name: task.kind for name, task in run.tasks.items()}
    end = len(spool)
    return {
        "tasks": summarise(spool, kinds, last_fifth(spool), end, bins=20),
        "whole": summarise(spool, kinds, 0, end),
    }


def memory_figures(parts: Parts, tally: Tally) -> dict[str, Any]:
    """Users, rows and bytes remembered, and the share of rows read that had their states, by depth."""
    stats, depths = parts.store.stats(), parts.engine.memory.shape.depths
    return {
        "users": stats.users,
        "rows": stats.rows,
        "bytes": stats.bytes,
        "hit_rate": [tally.found / tally.read if tally.read else None] * depths,
        "rows_lost": tally.lost,
        "users_dropped": parts.engine.memory.budget.dropped_users,
        "users_damaged": parts.engine.memory.damaged_users,
    }


def age_figures(tally: Tally, depths: int) -> dict[str, Any]:
    """Updates between a row's making and its reading."""
    return {
        "depth": list(range(1, depths + 1)),
        "steps_p50": [quantile(tally.ages, 0.5)] * depths,
        "steps_p90": [quantile(tally.ages, 0.9)] * depths,
    }


def write_predictions(path: Path, run: RunConfig, spool: Spool, log: EventLog) -> None:
    """Every scored row with the ids and times of the log: row, user, item, time, drawn, and score and label per task."""
    tasks = list(run.tasks)
    first = _prediction_rows(spool, log, tasks, 0, min(len(spool), 1))

    def source(columns: Any, predicate: Any, rows: int | None, size: int | None) -> Iterator[pl.DataFrame]:
        for lo in range(0, len(spool), _CHUNK):
            yield _prediction_rows(spool, log, tasks, lo, min(lo + _CHUNK, len(spool)))

    with replacing(path) as beside:
        register_io_source(source, schema=first.schema).pipe(sink, beside, path)


def _prediction_rows(spool: Spool, log: EventLog, tasks: list[str], lo: int, hi: int) -> pl.DataFrame:
    records = spool.read(lo, hi)
    number = np.ascontiguousarray(records["number"])
    begin = int(number[0]) if len(number) else 0
    original = log.originals(begin, int(number[-1]) + 1 if len(number) else 0)[number - begin]
    drawn = np.ascontiguousarray(records["drawn"]).astype(bool)
    if drawn.any():
        items = log.item_originals(np.ascontiguousarray(records["item_number"]))
        original = original.with_columns(items.alias("item"))
    columns: dict[str, Any] = {"drawn": drawn}
    for t, task in enumerate(tasks):
        columns[f"score_{task}"] = np.ascontiguousarray(records["scores"][:, t])
        label = pl.Series(np.ascontiguousarray(records["labels"][:, t]))
        columns[f"label_{task}"] = label.fill_nan(None)
    return original.with_columns(**{k: pl.Series(v) for k, v in columns.items()})
