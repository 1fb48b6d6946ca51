"""Small logs with known answers, and runs over them."""

from pathlib import Path
from typing import Any

import polars as pl

from marm.config import RunConfig
from marm.config.load import check_run
from marm.data.prepare import prepare
from marm.data.stream import EventLog

START = 1_600_000_000


def run_over(folder: Path, log: str | list[str] = "log.parquet", **sections: dict[str, Any]) -> RunConfig:
    """A run over ``user``, ``item``, ``time`` and a 0/1 column ``click``; sections are laid over."""
    data = {"path": str(folder), "log": log, "user": "user", "item": "item", "time": "time"}
    raw: dict[str, Any] = {"tasks": {"click": {"column": "click"}}, **sections}
    raw["data"] = {**data, **sections.get("data", {})}
    return check_run(raw, "run.toml")


def write_log(folder: Path, name: str = "log.parquet", **columns: Any) -> pl.DataFrame:
    """Write a log of four events, columns laid over; clicks are 1, 0, 1, 0."""
    base = {"user": [1, 2, 1, 2], "item": [7, 8, 9, 7], "time": [START + i for i in range(4)], "click": [1, 0, 1, 0]}
    frame = pl.DataFrame({**base, **columns})
    write(frame, folder / name)
    return frame


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame in the format that its name says."""
    match path.suffix:
        case ".csv":
            frame.write_csv(path)
        case ".ndjson":
            frame.write_ndjson(path)
        case _:
            frame.write_parquet(path)


def prepared(folder: Path, run: RunConfig) -> EventLog:
    """The stream of a run, opened."""
    prepare(run, folder / "events")
    return EventLog(folder / "events")
