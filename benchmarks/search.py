"""What a search in long histories costs: one request, 500 candidates, against the history's length, for each rule and for none.

python -m benchmarks.search [--full] [--seeds 3] [--out results.jsonl]

``request``: one pass, recall to score, memory hot, L = 4, d = 64, float16; the window beside a search is 100. ``bytes`` are
those of the arena and of the embeddings that the pass reads, each once. ``quality`` (``--seeds``): on a simulated world whose
authors return after hundreds of events, window alone, with each rule, and a window over everything; then recall by layer.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.common import median_seconds, print_table, write_result
from benchmarks.logs import PLAIN, in_rounds, run_over, write_log
from marm.config import RunConfig, load_run
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.engine.batch import Batch
from marm.engine.engine import Attended
from marm.engine.exposures import from_events
from marm.model.outcomes import OutcomeCodes
from marm.train.run import evaluate, train
from marm.train.setup import Parts, build, set_threads
from marm.world import WorldConfig, simulate, write

CANDIDATES, WINDOW, LAYERS, WIDTH = 500, 100, 4, 64
RULES: dict[str, dict[str, Any]] = {
    "category": {"rule": "category", "category": "category"},
    "hash": {"rule": "hash"},
    "dot": {"rule": "dot"},
}


def settings(log: Path, history: int, rule: str | None) -> RunConfig:
    """A run with a window and a search of ``history`` rows together, or a window of all."""
    searched = max(history - WINDOW, 1)
    search = {"search": {**RULES[rule], "history": searched}} if rule else {}
    memory = {"window": WINDOW if rule else history, "url": "arena://", "codec": "float16", "hot": 2**31, **search}
    return run_over(log, PLAIN, model={"layers": LAYERS, "width": WIDTH}, memory=memory, train={"device": "cpu"})


def fill(parts: Parts, run: RunConfig, log: EventLog) -> None:
    """Remember the log's one user with random states: what a row holds changes nothing of what it costs."""
    shape, codes = parts.engine.memory.shape, OutcomeCodes(run.tasks, run.model.outcomes)
    events, random = log.read(0, len(log)), np.random.default_rng(0)
    parts.engine.memory.admit(np.unique(events.user), 0)
    made = from_events(events, codes.encode(events.labels))
    keys = random.integers(0, 2**64, (len(events), shape.keys), np.uint64)
    if run.memory.search and run.memory.search.category:
        keys = parts.engine.category(made.item, made.item_columns)[:, None]
    parts.engine.remember(made, torch.randn(len(events), shape.depths, shape.width), 0, keys)


def request(log: EventLog) -> Batch:
    """500 candidates for the log's one user after its last event."""
    events, at = log.read(0, 1), log.manifest.last_time + 1
    item = log.read(0, len(log)).item[np.random.default_rng(2).integers(0, len(log), CANDIDATES)]
    time = np.full(CANDIDATES, at)
    none = np.zeros(CANDIDATES, np.int16)
    columns = np.zeros((CANDIDATES, 0), np.uint64)
    live = np.zeros(CANDIDATES, bool)
    return Batch(events.user, {}, time[:1], none.astype(np.int64), item, columns, time, {}, live, time, none)


def bytes_read(parts: Parts, run: RunConfig, attended: Attended, history: int) -> list[int]:
    """Of the arena and the embeddings: by searching, and by searching and attending for one candidate, and for all."""
    shape, search = parts.engine.memory.shape, run.memory.search
    row = shape.facts.itemsize + 2 * parts.engine.table.weight.shape[1] * 4
    columns = row + shape.state_bytes if search and search.rule == "dot" else 8 * shape.keys
    searched = max(history - WINDOW, 0) * columns if search else 0
    window = min(history, run.memory.window) * (row + shape.state_bytes)
    shares = [share.search for share in attended.shares if share.search]
    all_of = [np.concatenate([s.found[layer].position for s in shares]) for layer in range(LAYERS if shares else 0)]
    first_of = shares[0].picked(0) if shares else []
    each = [row] + [shape.facts.itemsize + shape.state_bytes // shape.depths] * (LAYERS - 1)
    one, every = (sum(len(np.unique(p)) * e for p, e in zip(of, each, strict=False)) for of in (first_of, all_of))
    return [searched, searched + window + one, searched + window + every]


def cost(log: EventLog, folder: Path, history: int, rule: str | None, repeats: int) -> list[Any]:
    """Milliseconds and bytes of one request."""
    run = settings(folder, history, rule)
    with tempfile.TemporaryDirectory() as scratch:
        parts = build(run, log, Path(scratch), set_threads(run))
        fill(parts, run, log)
        batch = request(log)
        parts.engine.memory.admit(batch.users, 1)
        with torch.no_grad():
            attended = parts.engine.attend(batch)
            took = median_seconds(lambda: parts.engine.attend(batch), repeats)
        parts.store.close()
    return [took * 1000, *bytes_read(parts, run, attended, history)]


def costs(lengths: list[int], longest_exact: int, repeats: int) -> list[list[Any]]:
    """A row for each length and for each rule, a plain window first: milliseconds, then bytes."""
    out = []
    for length in lengths:
        with tempfile.TemporaryDirectory() as base:
            folder = Path(base) / "log"
            write_log(folder, in_rounds(1, length))
            prepare(settings(folder, length, None), Path(base) / "events")
            log = EventLog(Path(base) / "events")
            rules = [None, *RULES] if length <= longest_exact else ["category", "hash"]
            out += [[length, rule or "window", *cost(log, folder, length, rule, repeats)] for rule in rules]
    return out


def quality(folder: Path, seeds: int, events: int, users: int, period: int) -> list[list[Any]]:
    """GAUC of the last fifth and events a second, by what a target sees, one row for each."""
    config = WorldConfig(users=users, items=1_400, events=events, effects=("long",), long_period=period)
    write(simulate(config), folder)
    history = events // users
    search = [f"memory.search.history={history - WINDOW}"]
    ways = {
        "window": [f"memory.window={WINDOW}"],
        "category": [*search, "memory.search.rule=category", "memory.search.category=author"],
        "hash": [*search, "memory.search.rule=hash"],
        "dot": [*search, "memory.search.rule=dot"],
        "all in the window": [f"memory.window={history}"],
    }
    return [[name, *_seeds(folder, name, sets, seeds)] for name, sets in ways.items()]


def recalls(folder: Path) -> list[list[Any]]:
    """Share of the exact search's picks that each rule found, by layer: the log once more, a year later, users as they were."""
    log = pl.concat([pl.read_parquet(part) for part in sorted((folder / "log").glob("*.parquet"))])
    log.tail(len(log) // 4).with_columns(time=pl.col("time") + 365 * 86_400_000).write_parquet(folder / "later.parquet")
    out = []
    for name in ("category", "hash"):
        run = load_run(folder / f"{name}-0" / "run.toml", [f"data.log={folder / 'later.parquet'}"])
        out.append([name, *evaluate(folder / f"{name}-0", run)["search"]["recall"]])
    return out


def _seeds(folder: Path, name: str, sets: list[str], seeds: int) -> list[Any]:
    found = []
    for seed in range(seeds):
        run = load_run(folder / "run.toml", ["memory.url=arena://", "model.layers=2", f"train.seed={seed}", *sets])
        found.append(train(run, folder / f"{name}-{seed}"))
    gauc = [one["tasks"]["click"]["gauc"] for one in found]
    return [float(np.mean(gauc)), [round(g, 4) for g in gauc], float(np.mean([one["events_per_s"] for one in found]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="histories to 100,000; else to 3,000")
    parser.add_argument("--seeds", type=int, default=0, help="seeds of the quality part; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    lengths = [200, 1_000, 3_000, 10_000, 30_000, 100_000] if args.full else [200, 1_000, 3_000]
    found = costs(lengths, 30_000, args.repeats)
    head = ["history", "sees", "ms", "bytes searched", "bytes of one candidate", "bytes of all"]
    print_table(f"{CANDIDATES} candidates, L={LAYERS}, d={WIDTH}, float16", head, found)
    figures: dict[str, Any] = {"request": found}
    if args.seeds:
        users, events, period = (60, 600_000, 2_500) if args.full else (12, 24_000, 400)
        with tempfile.TemporaryDirectory() as base:
            figures["quality"] = quality(Path(base) / "world", args.seeds, events, users, period)
            figures["recall"] = recalls(Path(base) / "world")
        print_table("a world whose authors return", ["sees", "GAUC", "by seed", "events/s"], figures["quality"])
        print_table("recall@100 by layer", ["rule", *(f"layer {i + 1}" for i in range(2))], figures["recall"])
    config = {"full": args.full, "seeds": args.seeds, "repeats": args.repeats, "candidates": CANDIDATES}
    write_result("search", config | {"window": WINDOW, "layers": LAYERS, "width": WIDTH}, figures, args.out)


if __name__ == "__main__":
    main()
