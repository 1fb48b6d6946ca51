"""Latency of /v1/rank over HTTP, the server a process of its own, and where the time goes; requests a second at saturation.

python -m benchmarks.serve_latency [--full] [--run DIR] [--out results.jsonl]

One request at a time (p50, p99), history full (``--window``), float16 memory, items at random of the whole catalogue.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.common import ROOT, print_table, write_result
from benchmarks.logs import ITEMS, PLAIN, in_rounds, run_over, write_log
from marm.train.run import train

CANDIDATES = 500


def make_run(folder: Path, users: int, window: int) -> Path:
    """Train on users who all have a full history."""
    write_log(folder / "log", in_rounds(users, users * (window + 8)))
    run = run_over(
        folder / "log",
        PLAIN,
        model={"layers": 4, "width": 64},
        memory={"window": window, "codec": "float16", "url": "lmdb://memory"},
        train={"device": "cpu"},
    )
    train(run, folder / "run")
    return folder / "run"


def bodies(users: int, count: int) -> list[dict[str, Any]]:
    """Requests of random users and candidates."""
    random = np.random.default_rng(2)
    return [
        {"user": int(random.integers(users)), "candidates": random.choice(ITEMS, CANDIDATES, replace=False).tolist()}
        for _ in range(count)
    ]


def one_at_a_time(address: str, asked: list[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds as the client sees them, and of them those in the pass and those around it in the server."""
    seen, ranking, inside = [], [], []
    with httpx.Client(base_url=address, timeout=30) as client:
        for body in asked:
            content = json.dumps(body).encode()
            begun = time.perf_counter()
            answer = client.post("/v1/rank", content=content, headers={"content-type": "application/json"})
            seen.append((time.perf_counter() - begun) * 1000)
            trace = answer.raise_for_status().json()["trace"]
            ranking.append(trace["stages"][-1]["ms"])
            inside.append(trace["ms"])
    warm = slice(len(seen) // 10, None)
    p50, p99 = np.percentile(seen[warm], [50, 99])
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "pass_ms": float(np.median(ranking[warm])),
        "waiting_ms": float(np.median(np.array(inside[warm]) - np.array(ranking[warm]))),
        "http_json_ms": float(np.median(np.array(seen[warm]) - np.array(inside[warm]))),
    }


def saturated(address: str, asked: list[dict[str, Any]], clients: int) -> float:
    """Requests a second of several clients that ask without pause."""

    def ask(part: list[dict[str, Any]]) -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            for body in part:
                client.post("/v1/rank", json=body).raise_for_status()

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(ask, asked[at::clients]) for at in range(clients)]:
            done.result()
    return len(asked) / (time.perf_counter() - begun)


def measure(folder: Path, users: int, requests: int) -> dict[str, float]:
    """Start the server, ask, stop it."""
    words = [sys.executable, "-m", "marm", "serve", str(folder), "--port", "0", "--quiet"]
    server = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        found = one_at_a_time(address, bodies(users, requests))
        found["requests_per_s"] = saturated(address, bodies(users, requests), clients=4)
        return found
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="n = 1,000 and 1,000 requests; else n = 100 and 100")
    parser.add_argument("--run", type=Path, help="folder to make the run in, or to find it in")
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    window, users, requests = (1000, 40, 1000) if args.full else (100, 40, 100)
    config = {
        "window": window,
        "users": users,
        "requests": requests,
        "candidates": CANDIDATES,
        "layers": 4,
        "width": 64,
    }
    with tempfile.TemporaryDirectory() as base:
        folder = args.run or Path(base)
        run = folder / "run" if (folder / "run" / "result.json").exists() else make_run(folder, users, window)
        found = measure(run, users, requests)
    print_table(f"500 candidates, n = {window:,}", list(found), [list(found.values())])
    write_result("serve_latency", config, found, args.out)


if __name__ == "__main__":
    main()
