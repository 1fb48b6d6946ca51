"""Events a second that training takes from a Parquet log to the last cut, and how near that comes to this machine's limits.

python -m benchmarks.train_speed [--full] [--threads 2] [--folder DIR] [--out results.jsonl]

Steps have their full size from the start (`train.first_batch`), so that the figure is that of a long stream.
The roofline: each event must read the remembered rows of its window (once for each segment) at the speed of a plain copy,
and compute its score and gradient (three times the forward operations) at the speed of one float32 product.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import median_seconds, print_table, write_result
from benchmarks.logs import FULL, PLAIN, in_runs, interleaved, run_over, write_log
from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.model.ranker import Ranker
from marm.train.run import train
from marm.train.setup import ring_shape
from marm.train.trainer import flops_per_event
from marm.types import I64

MODEL = {"layers": 3, "width": 32, "heads": 4}
ORDERS: dict[str, Callable[[int, int], I64]] = {"interleaved": interleaved, "in runs of 16": in_runs}
RECIPES = {"plain": PLAIN, "full recipe": FULL}
FULL_WINDOW = 1.1
"""Steady is what comes once users have this many windows of events on average: nearly all read a full one."""


@dataclass(frozen=True)
class Case:
    """A log and the settings to train on it with."""

    recipe: str
    order: str
    window: int
    users: int
    per_user: int
    micro_batch: int

    @property
    def events(self) -> int:
        """Of the log."""
        return self.users * self.per_user

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.recipe}, {self.order}, n={self.window}"

    def run(self, log: Path, threads: int) -> RunConfig:
        """Settings; the log's own events are the only ones that fill its histories."""
        return run_over(
            log,
            RECIPES[self.recipe],
            model=MODEL,
            memory={"window": self.window},
            train={
                "micro_batch": self.micro_batch,
                "first_batch": self.micro_batch,
                "threads": threads,
                "device": "cpu",
                "window_events": max(self.events // 40, 500),
            },
        )


def cases(full: bool) -> list[Case]:
    """What is measured; the small size has the same shapes with fewer users."""
    users = 2000 if full else 600
    mixed = [(r, o) for r in RECIPES for o in ORDERS]
    hundred = [Case(r, o, 100, users, 150 if full else 125, 1024 if full else 512) for r, o in mixed]
    if not full:
        return hundred
    # Of 200 users 256 at a time make segments as short as 1,024 of 2,000 do.
    thousand = [Case("plain", o, 1000, 200, 1300, m) for o, m in zip(ORDERS, (256, 1024), strict=True)]
    return [*hundred, *thousand]


@dataclass(frozen=True)
class Limits:
    """What this machine can do at most."""

    copied: float
    """Bytes copied a second, outside the caches."""
    computed: float
    """Operations a second of one float32 matrix product."""


def limits(threads: int) -> Limits:
    """Measure them on as many threads as training uses."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    block, kept = torch.ones(2**26), torch.zeros(2**26)
    a, b, product = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.empty(1024, 1024)
    copy = median_seconds(lambda: kept.copy_(block))
    gemm = median_seconds(lambda: torch.mm(a, b, out=product))
    torch.set_num_threads(before)
    return Limits(block.nbytes / copy, 2 * 1024**3 / gemm)


def rate_since(windows: list[dict[str, Any]], event: float) -> float:
    """Events a second from the end of the window that holds ``event`` to the end of the log."""
    first = next(line for line in windows[:-1] if line["events"] >= event or line is windows[-2])
    last = windows[-1]
    return float((last["events"] - first["events"]) / (last["seconds"] - first["seconds"]))


def demand(case: Case, run: RunConfig, out: Path, segment: float) -> tuple[float, float]:
    """Bytes of remembered rows (facts and states) and operations that one event of a full window needs."""
    shape = ring_shape(run, EventLog(out / "events"))
    rows = case.window + run.model.token_shift
    return rows * (shape.state_bytes + shape.facts.itemsize) / segment, 3.0 * flops_per_event(
        Ranker(run.model, run.tasks), case.window
    )


def measure(case: Case, threads: int, folder: Path) -> dict[str, Any]:
    """Train on the case's log in ``folder``, after a short training that compiles what it needs."""
    write_log(folder / "warm", ORDERS[case.order](64, 2048))
    train(case.run(folder / "warm", threads), folder / "warm-out")
    write_log(folder / "log", ORDERS[case.order](case.users, case.events))
    run, out = case.run(folder / "log", threads), folder / "out"
    result = train(run, out)
    windows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    counts = np.array(result["segments"]["counts"])
    segment = float(counts @ np.arange(1, len(counts) + 1) / counts.sum())
    read, operations = demand(case, run, out, segment)
    return {
        "events": case.events,
        "events_per_segment": segment,
        "end_to_end": result["events_per_s"],
        "second_half": rate_since(windows, case.events / 2),
        "steady": rate_since(windows, FULL_WINDOW * case.window * case.users),
        "bytes_per_event": read,
        "operations_per_event": operations,
    }


def against(figures: dict[str, Any], best: Limits) -> None:
    """Add the roofline: events a second if either limit alone held, and the share of the lower one that was reached."""
    by_copy = best.copied / figures["bytes_per_event"]
    by_gemm = best.computed / figures["operations_per_event"]
    roof = min(by_copy, by_gemm)
    figures |= {"by_copy": by_copy, "by_gemm": by_gemm, "of_roofline": figures["steady"] / roof}


def show(found: dict[str, dict[str, Any]], best: Limits, threads: int) -> None:
    """Tables for people."""
    speed = [
        [name, f["events_per_segment"], f["end_to_end"], f["second_half"], f["steady"]] for name, f in found.items()
    ]
    head = ["events/s", "events a segment", "end to end", "second half", "steady"]
    print_table(f"training, d={MODEL['width']}, L={MODEL['layers']}, {threads} threads", head, speed)
    roof = [
        [
            name,
            f["bytes_per_event"] / 1e3,
            f["operations_per_event"] / 1e6,
            f["by_copy"],
            f["by_gemm"],
            f["of_roofline"],
        ]
        for name, f in found.items()
    ]
    head = ["limits", "kB an event", "MFLOP an event", "events/s by copy", "events/s by product", "reached"]
    title = f"copy {best.copied / 1e9:.1f} GB/s, product {best.computed / 1e9:.0f} GFLOP/s"
    print_table(title, head, [[*row[:5], f"{row[5]:.1%}"] for row in roof])
    for name, f in found.items():
        print(f"  {name}: {f['of_roofline']:.1%} of roofline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes to report; else a look of a minute or two")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, help="where logs and run folders are made (default: the system's for such)"
    )
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    seen = []
    for case in cases(args.full):
        # Before each, and the best of all kept: on a shared machine one look may be too low.
        seen.append(limits(args.threads))
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found[case.name] = measure(case, args.threads, Path(folder))
    best = Limits(max(s.copied for s in seen), max(s.computed for s in seen))
    for figures in found.values():
        against(figures, best)
    show(found, best, args.threads)
    config = {"full": args.full, "threads": args.threads, **MODEL, "cases": [vars(case) for case in cases(args.full)]}
    write_result("train_speed", config, {"cases": found, "limits": vars(best)}, args.out)


if __name__ == "__main__":
    main()
