"""Whether a server answers what a frozen evaluation scores: the same user, item, time and context, live tails included.

python -m benchmarks.parity DIR [--events 1000] [--tail 2000] [--seed 0] [--out results.jsonl]

The newest events of the run's own log are told once more, as if they happened after its end, to a server over a copy of the
folder, and scored by `marm evaluate --frozen`. Of them some at random are asked about over HTTP, each as of its own time.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from benchmarks.common import ROOT, write_result
from marm.config import RunConfig
from marm.config.stages import StagesConfig
from marm.data.live import LiveLog
from marm.data.parts import Manifest
from marm.data.source import find_files, scan
from marm.train.run import evaluate, run_of

_ROUND = 50


def later_log(run: RunConfig, events: int) -> pl.DataFrame:
    """The newest rows of the log that `data.where` keeps, in order of time, moved to right after its end."""
    time = run.data.time
    log = pl.concat([scan(file) for file in find_files(Path(run.data.path), run.data.log)], how="vertical_relaxed")
    kept = log if run.data.where is None else log.filter(pl.sql_expr(run.data.where).fill_null(False))
    frame = kept.sort(time, maintain_order=True).tail(events).collect()
    first, last = frame[time][0], frame[time][-1]
    if not isinstance(first, (int, float, datetime)):
        raise SystemExit(f"{time} = {first!r}: times must be numbers or datetimes to be moved")
    step: Any = timedelta(seconds=1) if isinstance(first, datetime) else 1
    return frame.with_columns((pl.col(time) + (last - first + step)).alias(time))


def frozen_scores(folder: Path, run: RunConfig, frame: pl.DataFrame, scratch: Path) -> pl.DataFrame:
    """What `marm evaluate --frozen` gives to each row (and to no drawn item): ``row`` and a score for each task."""
    frame.write_parquet(scratch / "later.parquet")
    data = run.data.model_copy(update={"log": str((scratch / "later.parquet").resolve())})
    laid_over = run.model_copy(update={"data": data, "stages": StagesConfig()})
    evaluate(folder, laid_over, frozen=True, predictions=scratch / "frozen.parquet")
    made = pl.read_parquet(scratch / "frozen.parquet")
    return made.filter(~pl.col("drawn")).sort("row")


class Rows:
    """Rows of the log as the server is told of them, and asked about them."""

    def __init__(self, run: RunConfig, folder: Path, frame: pl.DataFrame) -> None:
        live, columns = LiveLog(run, folder / "events"), Manifest.read(folder / "events").columns
        self._data, self._rows = run.data, frame.to_dicts()
        self._outcomes = live.outcomes
        self._told = set(live.values) - live.outcomes
        self._asked = {*columns["context"], *columns["user"]}

    def event(self, number: int) -> dict[str, Any]:
        """For /v1/events."""
        row = self._rows[number]
        return {
            "event_id": f"parity {number}",
            "user": row[self._data.user],
            "item": row[self._data.item],
            "at": _plain(row[self._data.time]),
            "context": self._of(row, self._told),
            "outcomes": self._of(row, self._outcomes),
        }

    def question(self, number: int) -> dict[str, Any]:
        """For /v1/rank: the row's own item alone, at its time."""
        row = self._rows[number]
        user, item = row[self._data.user], row[self._data.item]
        return {
            "user": user,
            "candidates": [item],
            "at": _plain(row[self._data.time]),
            "context": self._of(row, self._asked),
        }

    @staticmethod
    def _of(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
        return {name: _plain(row[name]) for name in sorted(names) if row.get(name) is not None}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (date, datetime)) else value


@contextmanager
def served(folder: Path) -> Iterator[httpx.Client]:
    """A server over a folder, a process of its own, and a client for it."""
    words = [sys.executable, "-m", "marm", "serve", str(folder), "--port", "0", "--quiet"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=60) as client:
                yield client
        finally:
            process.terminate()


def answers(client: httpx.Client, rows: Rows, count: int, asked: set[int]) -> dict[int, dict[str, float]]:
    """Predictions for the rows ``asked``; all are told, in rounds, and what came after a row must not show in its answer."""
    found = {}
    for low in range(0, count, _ROUND):
        some = range(low, min(low + _ROUND, count))
        client.post("/v1/events", json={"events": [rows.event(at) for at in some]}).raise_for_status()
        for at in asked.intersection(some):
            answer = client.post("/v1/rank", json=rows.question(at)).raise_for_status().json()
            found[at] = answer["items"][0]["tasks"]
    return found


def compare(folder: Path, events: int, tail: int, seed: int) -> dict[str, Any]:
    """Events compared, and the largest difference of a prediction, by task and at all."""
    run = run_of(folder)
    with tempfile.TemporaryDirectory(prefix="marm-") as base:
        scratch = Path(base)
        frame = later_log(run, max(tail, events))
        wanted = frozen_scores(folder, run, frame, scratch)
        at = np.random.default_rng(seed).choice(wanted["row"].to_numpy(), min(events, len(wanted)), replace=False)
        copy = Path(shutil.copytree(folder, scratch / "run"))
        with served(copy) as client:
            found = answers(client, Rows(run, folder, frame), len(frame), set(at.tolist()))
    place = {row: i for i, row in enumerate(wanted["row"].to_list())}
    largest = {}
    for task in run.tasks:
        scores = wanted[f"score_{task}"].to_numpy()
        pairs = np.array([(tasks[task], scores[place[row]]) for row, tasks in found.items()])
        largest[task] = float(np.abs(pairs[:, 0] - pairs[:, 1]).max())
    return {"events": len(found), "told": len(frame), "largest": max(largest.values()), "tasks": largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a finished run folder, whose log is still where run.toml says")
    parser.add_argument("--events", type=int, default=1000, help="events asked about")
    parser.add_argument("--tail", type=int, default=2000, help="events told, of which those are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    found = compare(args.folder.resolve(), args.events, args.tail, args.seed)
    run = run_of(args.folder)
    config = {"codec": run.memory.codec, "layers": run.model.layers, "window": run.memory.window, "seed": args.seed}
    write_result("parity", config | {"folder": args.folder.name}, found, args.out)


if __name__ == "__main__":
    main()
