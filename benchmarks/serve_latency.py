"""Latency over HTTP, the server a process of its own, and where the time goes; requests a second at saturation.

python -m benchmarks.serve_latency [--full] [--recommend] [--run DIR] [--out results.jsonl]

``/v1/rank`` of 500 candidates; with ``--recommend`` ``/v1/recommend`` through retrieval, cascading and ranking over the whole
catalogue. One request at a time (p50, p99), histories full, float16 memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.common import ROOT, print_table, write_result
from benchmarks.logs import ITEMS, PLAIN, in_rounds, run_over, write_log
from marm.train.run import train

CANDIDATES = 500


@dataclass(frozen=True)
class Size:
    """How large a run is, and how often it is asked."""

    window: int
    users: int
    requests: int
    items: int
    recommend: bool

    @property
    def stages(self) -> dict[str, Any]:
        """The stages before ranking, if any: 500 items found, half of them given on."""
        retrieval = {"found": CANDIDATES, "measured": 0.0}
        cascading = {"given": CANDIDATES // 2, "measured": 0.0}
        return {"retrieval": retrieval, "cascading": cascading} if self.recommend else {}

    @property
    def path(self) -> str:
        """What is asked."""
        return "/v1/recommend" if self.recommend else "/v1/rank"

    def bodies(self) -> list[dict[str, Any]]:
        """Requests of random users, and of random candidates where they are asked about."""
        random = np.random.default_rng(2)
        users = random.integers(self.users, size=self.requests).tolist()
        if self.recommend:
            return [{"user": user, "k": 10} for user in users]
        return [
            {"user": user, "candidates": random.choice(self.items, CANDIDATES, replace=False).tolist()}
            for user in users
        ]


def make_run(folder: Path, size: Size) -> Path:
    """Train on users who all have a full history."""
    write_log(folder / "log", in_rounds(size.users, size.users * (size.window + 8)), size.items, size.recommend)
    run = run_over(
        folder / "log",
        PLAIN,
        model={"layers": 4, "width": 64},
        memory={"window": size.window, "codec": "float16", "url": "lmdb://memory"},
        train={"device": "cpu"},
        stages=size.stages,
    )
    train(run, folder / "run")
    return folder / "run"


def one_at_a_time(address: str, path: str, asked: list[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds as the client sees them; of them those of each stage, of the rest of the server, and around it."""
    seen, inside = [], []
    stages: dict[str, list[float]] = {}
    with httpx.Client(base_url=address, timeout=30) as client:
        for body in asked:
            content = json.dumps(body).encode()
            begun = time.perf_counter()
            answer = client.post(path, content=content, headers={"content-type": "application/json"})
            seen.append((time.perf_counter() - begun) * 1000)
            trace = answer.raise_for_status().json()["trace"]
            inside.append(trace["ms"])
            for stage in trace["stages"]:
                stages.setdefault(stage["stage"], []).append(stage["ms"])
    warm = slice(len(seen) // 10, None)
    p50, p99 = np.percentile(seen[warm], [50, 99])
    each = {f"{name}_ms": float(np.median(ms[warm])) for name, ms in stages.items()}
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        **each,
        "rest_ms": float(np.median(inside[warm])) - sum(each.values()),
        "http_json_ms": float(np.median(np.array(seen[warm]) - np.array(inside[warm]))),
    }


def saturated(address: str, path: str, asked: list[dict[str, Any]], clients: int) -> float:
    """Requests a second of several clients that ask without pause."""

    def ask(part: list[dict[str, Any]]) -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            for body in part:
                client.post(path, json=body).raise_for_status()

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(ask, asked[at::clients]) for at in range(clients)]:
            done.result()
    return len(asked) / (time.perf_counter() - begun)


def measure(folder: Path, size: Size) -> dict[str, float]:
    """Start the server, ask, stop it."""
    words = [sys.executable, "-m", "marm", "serve", str(folder), "--port", "0", "--quiet"]
    server = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        found = one_at_a_time(address, size.path, size.bodies())
        found["requests_per_s"] = saturated(address, size.path, size.bodies(), clients=4)
        return found
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="n = 1,000 and 1,000 requests; else n = 100 and 100")
    parser.add_argument("--recommend", action="store_true", help="through all stages; with --full over 100,000 items")
    parser.add_argument("--run", type=Path, help="folder to make the run in, or to find it in")
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    users, items = (200, 100_000) if args.full and args.recommend else (40, ITEMS if args.full else 2_000)
    size = Size(*((1000, users, 1000) if args.full else (100, users, 100)), items, args.recommend)
    config = {**asdict(size), "candidates": CANDIDATES, "layers": 4, "width": 64}
    with tempfile.TemporaryDirectory() as base:
        folder = args.run or Path(base)
        run = folder / "run" if (folder / "run" / "result.json").exists() else make_run(folder, size)
        found = measure(run, size)
    print_table(f"{size.path}, n = {size.window:,}", list(found), [list(found.values())])
    write_result("serve_latency", config, found, args.out)


if __name__ == "__main__":
    main()
