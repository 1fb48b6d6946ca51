"""Events a second from the inbox to the stream, before anything is learned: outcomes with their events, and following them.

python -m benchmarks.inbox [--full] [--out results.jsonl]

One process; seconds on the clock and of processors, since others may be at work on the machine.
"""

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from benchmarks.common import print_table, timed, write_result
from benchmarks.logs import PLAIN, in_rounds, run_over, write_log
from marm.config import RunConfig
from marm.data.feedback import Feedback
from marm.data.grow import Grower
from marm.data.inbox import InboxWriter
from marm.data.prepare import prepare
from marm.data.stream import EventLog

OUTCOMES = ("click", "like", "watch")
OLD = 10_000
"""Events of the log that is there already."""


def lines(log: pl.DataFrame, following: bool) -> list[bytes]:
    """The log as records of an inbox."""
    out = []
    for number, row in enumerate(log.iter_rows(named=True)):
        outcomes = {name: row[name] for name in OUTCOMES}
        event = {"kind": "event", "event_id": f"e{number}", "user": row["user"], "item": row["item"], "at": row["time"]}
        out.append(orjson.dumps({**event, "outcomes": {} if following else outcomes, "received": 0.0}))
        if following:
            out.append(orjson.dumps({"kind": "outcomes", "event_id": f"e{number}", "outcomes": outcomes}))
    return out


def measure(folder: Path, run: RunConfig, log: pl.DataFrame, following: bool) -> dict[str, Any]:
    """Put a log into an inbox, and take it out."""
    prepare(run, folder / "events")
    with closing(InboxWriter(folder / "inbox")) as writer:
        writer.append(lines(log, following))
    with closing(Grower(folder / "events")) as grower:
        source = Feedback(run, folder, EventLog(folder / "events"), grower)

        def work() -> None:
            while source.poll(time.time()):
                pass

        figures = timed(work, len(log))
    assert source.counts == {"events": len(log)}, source.counts
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="200,000 events; else 20,000")
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    events = 200_000 if args.full else 20_000
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as base:
        write_log(Path(base) / "log", in_rounds(1000, OLD + events))
        whole = pl.read_parquet(Path(base) / "log" / "log.parquet")
        whole[:OLD].write_parquet(Path(base) / "log" / "log.parquet")
        run = run_over(Path(base) / "log", PLAIN, follow={"wait": 0, "gather": 0})
        for name in ("with", "following"):
            figures[name] = measure(Path(base) / name, run, whole[OLD:], name == "following")
    rows = [[name, *found.values()] for name, found in figures.items()]
    print_table(f"{events:,} events", ["outcomes", *figures["with"]], rows)
    write_result("inbox", {"events": events}, figures, args.out)


if __name__ == "__main__":
    main()
