"""Rows of a log as feedback that is served, and run folders that follow it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig, load_run
from marm.data.inbox import InboxWriter
from marm.data.stream import EventLog
from marm.metrics.spool import Spool
from marm.train.run import run_of
from tests.train.folders import metric_lines, remembered, weights, without_speeds

OUTCOMES = ("click", "watch", "delay")
CONTEXT = ("page", "hour", "query", "shelf")


def events_of(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """An event record for each row, its outcomes with it; event ids are ``e0``, ``e1`` ..."""
    for number, row in enumerate(frame.iter_rows(named=True)):
        yield {
            "kind": "event",
            "event_id": f"e{number}",
            "user": row["user"],
            "item": row["item"],
            "at": row["time"],
            "context": {name: row[name] for name in CONTEXT},
            "outcomes": {name: row[name] for name in OUTCOMES},
        }


def lines(records: Any) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


def put(folder: Path, records: Any) -> None:
    """Append records to a run folder's inbox."""
    writer = InboxWriter(folder / "inbox")
    writer.append(lines(records))
    writer.close()


def quick(folder: Path, **values: Any) -> RunConfig:
    """The settings of a run folder, with waits of no length."""
    told = {"wait": 0, "gather": 0, **values}
    return load_run(folder / "run.toml", [f"follow.{name}={json.dumps(value)}" for name, value in told.items()])


def copy_of(folder: Path, out: Path) -> Path:
    shutil.copytree(folder, out)
    return out


def columns(log: EventLog, lo: int, hi: int) -> dict[str, Any]:
    """All that a model sees of events, as lists."""
    events = log.read(lo, hi)
    told: dict[str, Any] = {
        name: getattr(events, name).tolist() for name in ("user", "item", "time", "known", "history")
    }
    told["labels"] = np.nan_to_num(events.labels, nan=-1).tolist()
    for group in (events.item_columns, events.user_columns, events.context):
        told |= {name: np.nan_to_num(column, nan=-1).tolist() for name, column in group.items()}
    return told


def event_ids(folder: Path) -> list[str]:
    """Event ids of all appended events."""
    return EventLog(folder / "events").event_ids(10**9)


def counts(folder: Path) -> dict[str, int]:
    return EventLog(folder / "events").manifest.growth.counts


def aside(folder: Path, name: str) -> list[dict[str, Any]]:
    """Lines of late.ndjson or rejected.ndjson."""
    path = folder / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def assert_same_learning(one: Path, other: Path) -> None:
    """Two folders over the same stream learned, measured and remembered the same, bit for bit."""
    tasks = list(run_of(one).tasks)
    first, second = (Spool(folder / "predictions.spool", tasks) for folder in (one, other))
    assert len(first) == len(second)
    assert first.read(0, len(first)).tobytes() == second.read(0, len(second)).tobytes()
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert tensor.equal(theirs[name]), name
    assert [without_speeds(line) for line in metric_lines(one)] == [
        without_speeds(line) for line in metric_lines(other)
    ]
    assert remembered(one) == remembered(other)
