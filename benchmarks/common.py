"""What every benchmark shares: timing, the machine, the commit, a table for people and a JSON line for programs."""

import gc
import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def median_seconds(work: Callable[[], object], repeats: int = 7, warmup: int = 1) -> float:
    """Median wall time of one call, after ``warmup`` untimed ones; the collector rests meanwhile."""
    for _ in range(warmup):
        work()
    was_on = gc.isenabled()
    gc.disable()
    try:
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
    finally:
        if was_on:
            gc.enable()
    return median(times)


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, versions, and how glibc was told to keep freed memory."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "ram_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "allocator": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
    }


def _cpu() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Short commit of the tree, with ``+`` where files differ from it; ``none`` outside a repository."""
    head = _git("rev-parse", "--short", "HEAD")
    return head + ("+" if _git("status", "--porcelain") else "") if head else "none"


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people; numbers with three significant digits, to the right."""
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    print(f"\n{title}")
    for line in cells:
        padded = [f"{text:{'>' if i else '<'}{size}}" for i, (text, size) in enumerate(zip(line, widths, strict=True))]
        print("  ".join(["", *padded]).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def timed(work: Callable[[], object], events: int) -> dict[str, int]:
    """Events a second of the clock and of processors."""
    began, spent = time.perf_counter(), time.process_time()
    work()
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    return {"events_per_s": round(events / seconds), "events_per_cpu_s": round(events / spent)}


def write_result(name: str, config: dict[str, Any], figures: dict[str, Any], out: Path | None = None) -> None:
    """One JSON line, last on stdout, and appended to ``out``: what was measured, when, of which commit, on what machine."""
    text = json.dumps(config, sort_keys=True, default=str)
    result = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "config": config,
        "config_hash": hashlib.sha256(text.encode()).hexdigest()[:12],
        "machine": machine(),
        **figures,
    }
    line = json.dumps(result, default=str)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write(line + "\n")
    print(line)
