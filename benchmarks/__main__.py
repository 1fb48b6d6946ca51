"""All benchmarks, each in a process of its own; tables on the terminal, one JSON line each below ``--results``.

python -m benchmarks [NAME ...] [--full] [--results DIR]

At the small size they only show that all runs and about how fast; figures to report come from ``--full``.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.common import ROOT
from marm.__main__ import ALLOCATOR

SMALL = {
    "store_read": ["--users", "200", "--naive-users", "20", "--repeats", "3"],
    "attention": ["--repeats", "3"],
    "together": ["--repeats", "3"],
    "codecs": ["--repeats", "3"],
    "scaling": ["--steps", "5"],
    "train_speed": [],
    "train_memory": ["--repeats", "1"],
    "flat": [],
    "serve_latency": [],
    "recompute": [],
    "inbox": [],
    "kafka": [],
    "search": ["--repeats", "3"],
    "rebuild": [],
    "recovery": [],
    "tier": ["--users", "100", "--repeats", "3", "--asked", "1000"],
}
"""Names, and how to ask each for its small size."""

FULL = {name: [] if name in ("store_read", "tier") else ["--full"] for name in SMALL}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones, of {', '.join(SMALL)} (default: all)")
    parser.add_argument(
        "--full", action="store_true", help="the sizes to report; takes a while and wants a quiet machine"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    unknown = set(args.names) - SMALL.keys()
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; known are {', '.join(SMALL)}")
    failed = [name for name in args.names or SMALL if not run(name, args.full, args.results.resolve())]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def run(name: str, full: bool, results: Path) -> bool:
    """One benchmark; whether it came to its end."""
    flags = (FULL if full else SMALL)[name]
    words = [sys.executable, "-m", f"benchmarks.{name}", *flags, "--out", str(results / f"{name}.jsonl")]
    # As the `marm` command runs: it sets the allocator before it starts.
    return subprocess.run(words, cwd=ROOT, env={**ALLOCATOR, **os.environ}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
