"""The whole of it in three minutes: a simulated app, one layer and three, a page to look at, and answers over HTTP."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from marm.cli.demo_served import show_served
from marm.cli.progress import StreamProgress
from marm.config import load_run
from marm.data.ids import hash_text
from marm.errors import FolderError
from marm.metrics import gauc
from marm.report import write_comparison_report
from marm.train import run as commands
from marm.world import WorldConfig, simulate, write

EFFECTS = ("drift",)
USERS, ITEMS, EVENTS, DAYS = 200, 300, 100_000, 2
ARMS = {"1 layer": ["model.layers=1"], "3 layers": ["model.layers=3"]}
SETTINGS = [
    "memory.window=16",
    "train.live=16",
    "train.micro_batch=128",
    "data.feedback_delay=0",
    "model.user_id=false",
]
"""An interest outlasts what one layer sees, and no embedding of the user holds it: what remembered states are for."""
SERVED = ["follow.wait=1", "follow.gather=1", "follow.cut_every=2"]
"""So that nobody waits long for what a reaction changes."""


def demo(
    out: Annotated[Path | None, typer.Option(help="folder for all of it, replaced; a new one if not given")] = None,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Simulate a short-video app, train one layer and three on its log, compare them with what can be known, and serve one.

    With DEMO_STAY=1 in the environment the server stays up.
    """
    folder = fresh(out)
    console = Console(stderr=True)
    console.print(f"A simulated app: {USERS:,} users, {ITEMS:,} items, {EVENTS:,} exposures ...")
    world = WorldConfig(users=USERS, items=ITEMS, events=EVENTS, seed=0, effects=EFFECTS, days=DAYS)
    write(simulate(world), folder / "log")
    results: dict[str, Path] = {}
    for name, sets in ARMS.items():
        results[name] = folder / name.replace(" ", "_")
        with StreamProgress(name, quiet) as progress:
            config = load_run(folder / "log" / "run.toml", [*SETTINGS, *SERVED, *sets])
            commands.train(config, results[name], progress, progress.preparing)
    ceiling = truth_gauc(folder / "log", results["3 layers"])
    page = write_comparison_report(folder, dict(results), {"click": ceiling})
    found = {name: json.loads((path / "result.json").read_text(encoding="utf-8")) for name, path in results.items()}
    Console().print(table(found, ceiling))
    typer.echo(str(page))
    show_served(results["3 layers"], folder / "log")


def fresh(out: Path | None) -> Path:
    """An empty folder; an earlier demo's is replaced. Errors: ``FolderError``."""
    if out is None:
        return Path(tempfile.mkdtemp(prefix="marm-demo-"))
    made = out / "log" / "world.json"
    if out.exists() and any(out.iterdir()) and not made.exists():
        raise FolderError(f"{out}: not empty and not an earlier demo; name another folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


def truth_gauc(log: Path, trained: Path) -> float:
    """GAUC that the true click probability reaches on the last fifth: a ceiling that no history can pass."""
    scored = pl.read_parquet(trained / "predictions.parquet", columns=["row", "user", "label_click"])
    truth = pl.read_parquet(log / "truth")["click"].gather(scored["row"])
    last = slice(int(0.8 * len(scored)), None)
    users, labels = hash_text(scored["user"]), scored["label_click"].to_numpy()
    return float(gauc(users[last], truth.to_numpy().astype(np.float64)[last], labels[last]).value)


def table(found: dict[str, dict[str, Any]], ceiling: float) -> Table:
    """What each arm reached."""
    shown = Table("", "GAUC click", "share of rows found", "events/s", "remembered", title=None)
    for name, result in found.items():
        hits = [rate for rate in result["memory"]["hit_rate"] if rate is not None]
        rate = f"{np.mean(hits):.1%}" if hits else "-"
        held = f"{result['memory']['bytes'] / 1e6:.1f} MB"
        shown.add_row(name, f"{result['tasks']['click']['gauc']:.4f}", rate, f"{result['events_per_s']:,.0f}", held)
    shown.add_row("true probability", f"{ceiling:.4f}", "-", "-", "-")
    return shown
