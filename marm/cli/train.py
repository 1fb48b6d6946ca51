"""Train, resume, evaluate, predict."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from marm.cli.progress import StreamProgress
from marm.cli.ranks import start_ranks
from marm.config import load_run
from marm.ranks import joined
from marm.report.text import QUALITY, figure
from marm.train import run as commands
from marm.train.ranked import check
from marm.train.score import Scorer, predict_pairs

Sets = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, laid over the run file")]
Ranks = Annotated[int, typer.Option(min=1, help="processes of this machine that train it together")]
_QUALITY = ("gauc", "auc", "ne", "rmse", "mae")
_SHOWN = ("events", "events_per_s", "peak_rss_bytes", "tasks", "whole", "memory", "stages")


def train(
    run: Annotated[Path, typer.Argument(help="run file")],
    out: Annotated[Path, typer.Option(help="new folder for all that the run leaves")],
    sets: Sets = None,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
    ranks: Ranks = 1,
) -> None:
    """Train on a log from its beginning; the last line printed is one JSON object."""
    config = load_run(run, sets or [])
    check(config, ranks)
    laid_over = [word for one in sets or [] for word in ("--set", one)]
    start_ranks(ranks, ["train", str(run), "--out", str(out), *laid_over, *_quiet(quiet)])
    with joined() as group, StreamProgress("train", quiet or group.rank > 0) as progress:
        show(commands.train(config, out, progress, progress.preparing, group=group), None if quiet else out)


def resume(folder: Path, quiet: Annotated[bool, typer.Option(help="no progress")] = False, ranks: Ranks = 1) -> None:
    """Take up an interrupted training where its newest cut was made."""
    check(commands.run_of(folder), ranks)
    start_ranks(ranks, ["resume", str(folder), *_quiet(quiet)])
    with joined() as group, StreamProgress("resume", quiet or group.rank > 0) as progress:
        show(commands.resume(folder, progress, progress.preparing, group=group), None if quiet else folder)


def _quiet(quiet: bool) -> list[str]:
    return ["--quiet"] if quiet else []


def evaluate(
    folder: Path,
    log: Annotated[str, typer.Option(help="a log with the columns of the one trained on, relative to here")],
    frozen: Annotated[bool, typer.Option(help="remember nothing: what a user did is a live tail")] = False,
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="write predictions to this Parquet, CSV or NDJSON file")] = None,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Score another log with the newest cut, learning nothing; the run folder stays as it is."""
    config = load_run(folder / "run.toml", [f"data.log={json.dumps(str(Path(log).resolve()))}", *(sets or [])])
    with StreamProgress("evaluate", quiet) as progress:
        show(commands.evaluate(folder, config, frozen, progress, out))


def predict(
    folder: Path,
    pairs: Annotated[Path, typer.Option(help="user and item columns as in the log; time and context if there")],
    out: Annotated[Path, typer.Option(help="Parquet, CSV or NDJSON file to write")] = Path("scores.parquet"),
) -> None:
    """Score pairs of a user and an item at a time (now: after the last event) into a file."""
    scorer = Scorer(folder)
    try:
        count = predict_pairs(scorer, pairs, out)
    finally:
        scorer.close()
    typer.echo(json.dumps({"pairs": count, "out": str(out)}))


def show(result: dict[str, Any], out: Path | None = None) -> None:
    """The result as one line of JSON, and before it what people read first; nothing for a rank that has none.

    ``out``: the run folder, if people are to be told.
    """
    if not result:
        return
    if out is not None:
        for line in in_short(result):
            typer.echo(line, err=True)
        typer.echo(f"{out / 'report.html'} shows it, {out / 'result.json'} has all figures", err=True)
    typer.echo(json.dumps({key: _without_bins(result[key]) for key in _SHOWN if key in result}))


def in_short(result: dict[str, Any]) -> list[str]:
    """A line for each task, with the figures of the last fifth of the events, and one for all of the run."""
    lines = []
    for name, told in result["tasks"].items():
        said = [f"{QUALITY[key]} {figure(told[key])}" for key in _QUALITY if told.get(key) is not None]
        lines.append(f"{name}: {', '.join(said) or 'nothing was observed'}")
    return [*lines, f"the last fifth of {result['events']:,} events, {result['events_per_s']:,.0f} events/s"]


def _without_bins(part: Any) -> Any:
    """Figures without the table behind calibration, which only a page shows."""
    if not isinstance(part, dict):
        return part
    return {key: _without_bins(value) for key, value in part.items() if key != "calibration_bins"}
