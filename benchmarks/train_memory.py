"""Events a second of training by where memory lies and by how many processes train.

python -m benchmarks.train_memory [--full] [--repeats 3] [--folder DIR] [--out results.jsonl]

All ways take turns, so that a machine that is busy now and then is so for all; each figure is a median. Once every user has
room in the hot arena; and once half of them have, who come 16 times in a row, with four times as many cuts, so that most who
come are read from the store. Each rank has one thread, and a hot arena of its own. The arena's cut is a dump of all memory;
that of the others is what was gained. Processor time is the trainers' own, from their start to their end.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import print_table, write_result
from benchmarks.logs import PLAIN, in_runs, interleaved, run_over, write_log
from benchmarks.train_speed import MODEL, rate_since
from marm.__main__ import ALLOCATOR
from marm.config import RunConfig, to_toml
from tests.store import servers

WINDOW = 100
RANKS = (1, 2)
WAYS = ("arena", "lmdb", "redis", "redis cluster")
SLOWER = 0.2
"""How much slower than with the arena a store may make training."""
ROW = 2 * MODEL["width"] * 2 + 32
"""Bytes of a row of the hot arena: two depths of float16, and facts."""


@dataclass(frozen=True)
class Case:
    """A log, how many of its users the hot arena holds, and how often there is a cut."""

    name: str
    users: int
    events: int
    hot_users: int
    cuts: int
    in_a_row: bool

    def run(self, log: Path, url: str) -> RunConfig:
        """Settings for a log and a store."""
        rows = WINDOW + 16 + 16 + 1
        train = {"micro_batch": 64, "first_batch": 64, "threads": 1, "device": "cpu"}
        return run_over(
            log,
            PLAIN,
            model=MODEL,
            memory={"window": WINDOW, "url": url, "hot": self.hot_users * rows * ROW},
            train={**train, "cut_every": self.events // self.cuts, "window_events": self.events // 20},
        )


def cases(full: bool) -> list[Case]:
    """Users come a hundred times each, at the size to report."""
    users, events = 200, 20_000 if full else 5_000
    return [
        Case("all at hand", users, events, users, cuts=5, in_a_row=False),
        Case("half at hand", users, events, users // 2, cuts=20, in_a_row=True),
    ]


def url_of(way: str) -> str:
    """A store of its own for each training."""
    match way:
        case "redis":
            return servers.single().url()
        case "redis cluster":
            return servers.cluster().url()
    return {"arena": "arena://", "lmdb": "lmdb://memory"}[way]


def measure(case: Case, way: str, ranks: int, log: Path) -> dict[str, float]:
    """One training: events/s of all of it, and of the second half of the stream, cuts and all."""
    with tempfile.TemporaryDirectory(dir=log.parent) as folder:
        run, out = Path(folder) / "run.toml", Path(folder) / "out"
        run.write_text(to_toml(case.run(log, url_of(way))), encoding="utf-8")
        words = [sys.executable, "-m", "marm", "train", str(run), "--out", str(out), "--quiet", "--ranks", str(ranks)]
        before = cpu_seconds()
        subprocess.run(words, env={**ALLOCATOR, **os.environ}, stdout=subprocess.DEVNULL, check=True)
        windows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return {
        "end_to_end": result["events_per_s"],
        "second_half": rate_since(windows, case.events / 2),
        "cpu_s": cpu_seconds() - before,
    }


def cpu_seconds() -> float:
    """Of all processes that ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_all(case: Case, repeats: int, folder: Path) -> dict[str, Any]:
    """Medians of each way, and what share they are of the arena's; the first ones are not counted."""
    log = folder / "log"
    write_log(log, (in_runs if case.in_a_row else interleaved)(case.users, case.events))
    for ranks, way in zip((*RANKS, 1, 1), ("lmdb", "lmdb", "redis", "redis cluster"), strict=True):
        measure(case, way, ranks, log)  # compiles, and starts servers
    seen: dict[tuple[int, str], list[dict[str, float]]] = {pair: [] for pair in itertools.product(RANKS, WAYS)}
    for _ in range(repeats):
        for ranks, way in seen:
            seen[ranks, way].append(measure(case, way, ranks, log))
            print(f"{case.name}, {ranks}, {way}: {seen[ranks, way][-1]}", file=sys.stderr, flush=True)
    figures: dict[str, Any] = {}
    for (ranks, way), found in seen.items():
        middle = {name: median(one[name] for one in found) for name in found[0]}
        arena = figures.get(f"{ranks}, arena", middle)
        middle |= {f"{name}_of_arena": middle[name] / arena[name] for name in found[0]}
        middle["within_a_fifth"] = is_near(middle)
        figures[f"{ranks}, {way}"] = middle | {"all": [one["second_half"] for one in found]}
    return figures


def is_near(middle: dict[str, float]) -> bool:
    """Events/s are within a fifth of the arena's, of the whole training and of its second half."""
    return min(middle["end_to_end_of_arena"], middle["second_half_of_arena"]) >= 1 - SLOWER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the size to report; else a look of some minutes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where logs and runs are made (default: the system's for such)")
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    for case in cases(args.full):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            found = measure_all(case, args.repeats, Path(folder))
        head = [
            "processes, memory",
            "events/s",
            "second half",
            "processor s",
            "of the arena's",
            "second half",
            "processor",
            "within a fifth",
        ]
        names = [f"{name}{of}" for of in ("", "_of_arena") for name in ("end_to_end", "second_half", "cpu_s")]
        names.append("within_a_fifth")
        rows = [[way, *(figure[name] for name in names)] for way, figure in found.items()]
        print_table(f"{case.events:,} events of {case.users} users, n = {WINDOW}, {case.name}", head, rows)
        config = {"repeats": args.repeats, "window": WINDOW, **MODEL, **vars(case)}
        write_result("train_memory", config, {"load": os.getloadavg(), "ways": found}, args.out)


if __name__ == "__main__":
    main()
