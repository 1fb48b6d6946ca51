"""Rows a second: a memory rebuilt whole, beside streaming the same users' events one at a time and in steps.

python -m benchmarks.rebuild [--full] [--search RULE] [--folder DIR] [--out results.jsonl]

``made`` are states that end in the rebuilt memory; ``run`` counts every event that the passes go over, those before a ring's
first row included, which the states in it hang on. ``--search``: 20 picked of a whole history.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import print_table, write_result
from benchmarks.logs import PLAIN, interleaved, run_over, write_log
from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.train.cut import Cut, load_weights
from marm.train.folder import run_of
from marm.train.rebuild import rebuild
from marm.train.run import quiet, train
from marm.train.setup import Parts, build, ring_shape, set_threads
from marm.train.stepper import Stepper
from marm.train.tally import Tally


def streamed(folder: Path, micro_batch: int, events: int) -> float:
    """Events a second that the run's weights score and remember, learning nothing, from the log's beginning."""
    run = run_of(folder)
    train_ = run.train.model_copy(update={"micro_batch": micro_batch, "first_batch": micro_batch})
    memory = run.memory.model_copy(update={"url": "arena://"})
    run = run.model_copy(update={"train": train_, "memory": memory})
    with tempfile.TemporaryDirectory() as scratch:
        log = EventLog(folder / "events")
        parts = _emptied(folder, Path(scratch), log, run)
        stepper, position = Stepper(run, log, parts.engine, None, Tally()), 0
        for goal in (events // 10, events):  # the first part warms up
            begin, began = position, time.perf_counter()
            with torch.no_grad():
                while position < goal:
                    position = stepper.step(position, len(log), None, _full)
            seconds = time.perf_counter() - began
    return (position - begin) / seconds


def _emptied(folder: Path, scratch: Path, log: EventLog, run: RunConfig) -> Parts:
    """The run's weights over an empty memory."""
    cut = Cut(folder)
    parts = build(run, log, scratch, set_threads(run, cut.state["threads"]))
    load_weights(parts.engine.model, parts.engine.table, cut)
    parts.engine.model.eval()
    return parts


def _full() -> None:
    raise RuntimeError("memory.hot holds all users here")


def measure(users: int, each: int, window: int, single: int, rule: str | None, folder: Path) -> dict[str, Any]:
    """Train a run, stream its events again in two ways, rebuild its memory."""
    write_log(folder / "log", interleaved(users, users * each))
    search = {"search": {"rule": rule, "picked": 20, "history": each}} if rule else {}
    memory = {"window": window, "url": "lmdb://memory", **search}
    run = run_over(folder / "log", PLAIN, memory=memory, train={"micro_batch": 1024, "device": "cpu"})
    train(run, folder / "run")
    one, many = streamed(folder / "run", 1, single), streamed(folder / "run", 1024, users * each)
    told = rebuild(folder / "run", quiet)
    shape = ring_shape(run, EventLog(folder / "run" / "events"))
    gone_over = users * min(each, shape.capacity + run.depths * (window + shape.searched + 1))
    return {
        "one_at_a_time": one,
        "in_steps": many,
        "made_per_s": told["rows_per_s"],
        "run_per_s": gone_over / told["seconds"],
        "rows": told["made"],
        "times_one_at_a_time": told["rows_per_s"] / one,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1,000 users of 300 events")
    parser.add_argument("--search", choices=["hash", "dot"], help="search before the window, by this rule")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="append one JSON line here")
    args = parser.parse_args()
    users, each, single = (1000, 300, 2000) if args.full else (100, 150, 300)
    config = {"users": users, "events_each": each, "window": 100, "layers": 3, "width": 32, "search": args.search}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = measure(users, each, 100, single, args.search, Path(folder))
    rows = [
        ["streamed, one event at a time", f"{found['one_at_a_time']:,.0f}"],
        ["streamed, in steps of 1,024", f"{found['in_steps']:,.0f}"],
        ["rebuilt, states made", f"{found['made_per_s']:,.0f}"],
        ["rebuilt, events gone over", f"{found['run_per_s']:,.0f}"],
    ]
    print_table("states of a memory", ["way", "a second"], rows)
    write_result("rebuild", config, found, args.out)


if __name__ == "__main__":
    main()
