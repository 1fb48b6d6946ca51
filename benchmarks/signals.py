"""What a layer's further signals cost one request: ids compared exactly, the row before, the raw row; with a search too.

python -m benchmarks.signals [--full] [--repeats 15] [--out results.jsonl]

500 candidates, one pass on one thread, recall to score, memory hot, L = 4, d = 64, float16; all ways in turn, medians. A ratio
is against the same without ``model.equal_ids``. One item in a hundred has a row's category, few have a row's id.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.common import print_table, write_result
from benchmarks.logs import PLAIN, in_rounds, run_over, write_log
from benchmarks.search import CANDIDATES, LAYERS, WIDTH, fill, request
from marm.config import RunConfig
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.train.setup import Parts, build

SIGNALS: dict[str, dict[str, bool]] = {
    "none": {},
    "token shift": {"token_shift": True},
    "shift and raw rows": {"token_shift": True, "raw_rows": True},
}
SEARCHED = {"rule": "category", "category": "category"}
"""Found by what is compared as well."""


def settings(log: Path, rows: int, search: bool, model: dict[str, bool]) -> RunConfig:
    """A window of all rows, or one of a tenth with a search over the others."""
    window = rows // 10 if search else rows
    memory: dict[str, Any] = {"window": window, "url": "arena://", "codec": "float16", "hot": 2**30}
    if search:
        memory["search"] = {**SEARCHED, "history": rows - window}
    return run_over(
        log, PLAIN, model={"layers": LAYERS, "width": WIDTH, **model}, memory=memory, train={"device": "cpu"}
    )


def milliseconds(runs: dict[str, RunConfig], log: EventLog, folder: Path, repeats: int) -> dict[str, float]:
    """Medians of a request's pass, the ways in turn."""
    ready = {}
    for name, run in runs.items():
        (folder / name).mkdir()
        ready[name] = build(run, log, folder / name, threads=1)
        fill(ready[name], run, log)
    took: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, parts in ready.items():
            spent = _once(parts, log)
            if repeat:
                took[name].append(spent * 1000)
    return {name: median(times) for name, times in took.items()}


def _once(parts: Parts, log: EventLog) -> float:
    batch = request(log)
    parts.engine.memory.admit(batch.users, 1)
    begun = time.perf_counter()
    with torch.no_grad():
        parts.engine.attend(batch)
    return time.perf_counter() - begun


def measure(base: Path, rows: int, search: bool, repeats: int) -> list[list[Any]]:
    """A row for each set of signals: without ids and with them, and the ratio."""
    write_log(base / "log", in_rounds(1, rows))
    runs = {
        f"{name} {ids}": settings(base / "log", rows, search, {**signals, "equal_ids": ids})
        for name, signals in SIGNALS.items()
        for ids in (False, True)
    }
    prepare(next(iter(runs.values())), base / "events")
    found = milliseconds(runs, EventLog(base / "events"), base, repeats)
    pairs = {name: (found[f"{name} False"], found[f"{name} True"]) for name in SIGNALS}
    sees = f"{rows // 10} and a search" if search else str(rows)
    return [[sees, name, without, with_ids, with_ids / without] for name, (without, with_ids) in pairs.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1,000 rows; else 100")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    for search in (False, True):
        with tempfile.TemporaryDirectory() as base:
            rows += measure(Path(base), 1_000 if args.full else 100, search, args.repeats)
    head = ["sees", "signals", "ms", "ms with equal_ids", "ratio"]
    print_table(f"one request, {CANDIDATES} candidates, L = {LAYERS}, d = {WIDTH}", head, rows)
    config = {"candidates": CANDIDATES, "layers": LAYERS, "width": WIDTH, "repeats": args.repeats, "full": args.full}
    write_result("signals", config, {"passes": [dict(zip(head, row, strict=True)) for row in rows]}, args.out)


if __name__ == "__main__":
    main()
