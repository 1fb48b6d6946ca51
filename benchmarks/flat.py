"""Most memory that a training process holds on a log of X events and on one of 10 X: users grow with it, the arena does not.

python -m benchmarks.flat [--full] [--folder DIR] [--out results.jsonl]

Both figures are the system's own: VmHWM is all resident memory, pages of mapped files (the log, the store) among it, which
the system takes back when it needs them; anonymous memory, looked at 20 times a second, is what the process cannot give up.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, print_table, write_result
from benchmarks.logs import PLAIN, in_runs, run_over, write_log
from marm.train.run import train

EACH = 64
"""Events of a user."""

HOT = 4 * 2**20
"""Room for some 280 users, so that even X does not fit."""
TIMES = 10


def status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


class Watch:
    """The most anonymous memory that this process held."""

    def __init__(self) -> None:
        self.most, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, status("RssAnon"))

    def stop(self) -> int:
        """Bytes."""
        self._over.set()
        self._thread.join()
        return self.most


def train_once(folder: Path) -> dict[str, Any]:
    """In this process: train on ``folder/log``, and what memory that took."""
    watch = Watch()
    begin = status("RssAnon")
    run = run_over(
        folder / "log",
        PLAIN,
        memory={"window": 50, "hot": HOT},
        train={"micro_batch": 256, "threads": 2, "device": "cpu"},
    )
    result = train(run, folder / "out")
    return {
        "events": result["events"],
        "users": result["memory"]["users"],
        "store_bytes": result["memory"]["bytes"],
        "events_per_s": result["events_per_s"],
        "before_bytes": begin,
        "anonymous_bytes": watch.stop(),
        "resident_bytes": status("VmHWM"),
    }


def measure(events: int, base: Path | None) -> dict[str, Any]:
    """Train on so many events in a process of its own."""
    with tempfile.TemporaryDirectory(dir=base) as folder:
        write_log(Path(folder) / "log", in_runs(events // EACH, events))
        words = [sys.executable, "-m", "benchmarks.flat", "--one", folder]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="X = 200,000 events; else 25,000")
    parser.add_argument(
        "--folder", type=Path, help="where logs and run folders are made (default: the system's for such)"
    )
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(train_once(args.one)))
        return
    events = 200_000 if args.full else 25_000
    # The first compiles what the others find ready.
    measure(5_000, args.folder)
    found = [measure(size, args.folder) for size in (events, TIMES * events)]
    ratios = {key: found[1][key] / found[0][key] for key in found[0]}
    rows = [
        [label, f["events"], f["users"], f["store_bytes"] / 1e6, f["anonymous_bytes"] / 1e6, f["resident_bytes"] / 1e6]
        for label, f in zip(("X", f"{TIMES} X"), found, strict=True)
    ]
    head = ["log", "events", "users", "MB in the store", "MB anonymous, peak", "MB resident, peak"]
    print_table(f"training with {HOT >> 20} MiB of hot memory, each size in its own process", head, rows)
    print(
        f"  {TIMES} times the events take {ratios['anonymous_bytes']:.2f} times the anonymous memory, "
        f"{ratios['resident_bytes']:.2f} times the resident"
    )
    write_result("flat", {"full": args.full, "hot": HOT, "each": EACH}, {"found": found, "ratios": ratios}, args.out)


if __name__ == "__main__":
    main()
