"""`marm follow`: a trained run goes on learning from what comes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marm.cli.progress import StreamProgress
from marm.config import load_run
from marm.errors import SettingError
from marm.train.follow import Signals
from marm.train.follow import follow as go_on
from marm.train.run import resume, run_of

_SHOWN = (
    "events",
    "events_per_s",
    "peak_rss_bytes",
    "tasks",
    "memory",
    "cut",
    "position",
    "inbox",
    "waiting",
    "lag",
    "counts",
)


def follow(
    folder: Path,
    inbox: Annotated[bool, typer.Option("--inbox", help="learn from served feedback (the default)")] = False,
    log: Annotated[
        str | None,
        typer.Option(help="learn from new files of this folder or glob, as a log's, or from kafka://host:port/topic"),
    ] = None,
    cut_every: Annotated[float | None, typer.Option(help="seconds between cuts; else follow.cut_every")] = None,
    until_idle: Annotated[float | None, typer.Option(help="end when nothing came for so many seconds")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="follow.key=value or kafka.key=value, laid over the run's own")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Go on training a run folder as feedback comes; the last line printed is one JSON object."""
    if inbox and log is not None:
        raise SettingError("--inbox and --log: give one of them")
    values = [*(sets or []), *([] if cut_every is None else [f"follow.cut_every={cut_every}"])]
    other = next((value for value in values if not value.startswith(("follow.", "kafka."))), None)
    if other is not None:
        raise SettingError(
            f"--set {other}: a trained run keeps its settings, only those of [follow] and [kafka] may change"
        )
    run_of(folder)
    run, signals = load_run(folder / "run.toml", values), Signals()
    if inbox and run.followed is not None:
        raise SettingError(f"--inbox: the run learns from {run.followed}: leave --inbox out, or follow.log")
    with StreamProgress("follow", quiet) as progress:
        # A training that was interrupted is finished first; that may be killed like any training.
        resume(folder, progress, progress.preparing)
        signals.watch()
        result = go_on(folder, run, log, until_idle, progress, lambda: signals.asked)
    typer.echo(json.dumps({key: result[key] for key in _SHOWN if key in result}))
