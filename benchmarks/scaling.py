"""What a step costs for each event, against the window n and the layers L: no steeper than linear in either.

python -m benchmarks.scaling [--full] [--threads 2] [--steps 7] [--folder DIR] [--out results.jsonl]

Every user has a full window of remembered rows and one new event a step, the dearest case. A step admits, attends, learns
and remembers; reading the log is part of it, cuts are not.
"""

import argparse
import math
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import median_seconds, print_table, write_result
from benchmarks.logs import PLAIN, in_rounds, run_over, write_log
from marm.config import RunConfig
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.engine.exposures import from_events
from marm.model.outcomes import OutcomeCodes
from marm.train.learner import Learner
from marm.train.setup import Parts, build, set_threads
from marm.train.stepper import Stepper
from marm.train.tally import Tally
from marm.types import U64

WIDTH, HEADS = 32, 4
CHUNK = 64
"""Rounds remembered at a time while filling."""


def settings(log: Path, window: int, layers: int, users: int, threads: int) -> RunConfig:
    """A run whose steps take one round of all users."""
    return run_over(
        log,
        PLAIN,
        model={"layers": layers, "width": WIDTH, "heads": HEADS},
        memory={"window": window, "url": "arena://"},
        train={"micro_batch": users, "first_batch": users, "live": 1, "threads": threads, "device": "cpu", "warmup": 0},
    )


def fill(parts: Parts, run: RunConfig, log: EventLog, begin: int, end: int) -> None:
    """Remember these events with random states: what a row holds changes nothing of what it costs."""
    shape, users = parts.engine.memory.shape, run.train.micro_batch
    codes = OutcomeCodes(run.tasks, run.model.outcomes)
    parts.engine.memory.admit(_users(log, users), 0)
    for low in range(begin, end, CHUNK * users):
        events = log.read(low, min(low + CHUNK * users, end))
        states = torch.randn(len(events), shape.depths, shape.width)
        parts.engine.remember(from_events(events, codes.encode(events.labels)), states, 0)


def _users(log: EventLog, count: int) -> U64:
    return np.unique(log.read(0, count).user)


def microseconds(log: EventLog, run: RunConfig, rounds: int, steps: int) -> float:
    """Of one event: median over ``steps`` steps, each a later round of the log, after the first ``rounds``."""
    threads = set_threads(run)
    users = run.train.micro_batch
    with tempfile.TemporaryDirectory() as scratch:
        parts = build(run, log, Path(scratch), threads)
        begin = rounds * users
        fill(parts, run, log, begin - run.memory.window * users, begin)
        stepper = Stepper(run, log, parts.engine, Learner(parts.engine, run.train), Tally())
        position = begin

        def step() -> None:
            nonlocal position
            position = stepper.step(position, len(log), None, _no_room)

        took = median_seconds(step, steps)
        parts.store.close()
    if position != begin + (steps + 1) * users:
        raise AssertionError(f"{steps + 1} steps took {position - begin} events, not one of each of {users} users")
    return took / users * 1e6


def _no_room() -> None:
    raise AssertionError("the hot arena must hold all users here")


def _steps(at: list[int], cost: list[float]) -> list[float]:
    """Slope of log cost over log size between neighbours."""
    return [math.log(d / c) / math.log(b / a) for (a, b), (c, d) in zip(pairwise(at), pairwise(cost), strict=True)]


def show(title: str, letter: str, at: list[int], cost: list[float]) -> dict[str, Any]:
    """A table, a verdict, and the same for programs."""
    steps = [None, *_steps(at, cost)]
    rows = [[n, us, us / n, step] for n, us, step in zip(at, cost, steps, strict=True)]
    print_table(title, [letter, "us an event", f"us an event and {letter}", "slope from the one above"], rows)
    slope, steepest = float(np.polyfit(np.log(at), np.log(cost), 1)[0]), max(_steps(at, cost))
    print(f"  cost goes as {letter}^{slope:.2f}; steepest between neighbours {letter}^{steepest:.2f} (1 is linear)")
    return {"at": at, "us_per_event": cost, "slope": slope, "steepest": steepest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes to report; else n to 200 and L to 3")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the log is made (default: the system's for such)")
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    windows = [50, 100, 200, 500, 1000, 2000] if args.full else [50, 100, 200]
    layers = list(range(1, 7)) if args.full else [1, 2, 3]
    users, window, depth = (256, 200, 3) if args.full else (128, 100, 3)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        source, rounds = Path(folder) / "log", max(windows)
        write_log(source, in_rounds(users, users * (rounds + args.steps + 1)))
        prepare(settings(source, window, depth, users, args.threads), Path(folder) / "events")
        log = EventLog(Path(folder) / "events")

        def cost(n: int, count: int) -> float:
            return microseconds(log, settings(source, n, count, users, args.threads), rounds, args.steps)

        cost(windows[0], 2)
        by_window = [cost(n, depth) for n in windows]
        by_layers = [cost(window, count) for count in layers]
    title = f"a step of {users} users, one event each, d={WIDTH}, {args.threads} threads"
    figures = {
        "window": show(f"{title}, L={depth}", "n", windows, by_window),
        "layers": show(f"{title}, n={window}", "L", layers, by_layers),
    }
    config = {"full": args.full, "threads": args.threads, "steps": args.steps, "users": users, "width": WIDTH}
    write_result("scaling", config | {"layers": depth, "window": window}, figures, args.out)


if __name__ == "__main__":
    main()
