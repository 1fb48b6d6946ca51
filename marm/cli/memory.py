"""What a run remembers: looked into, checked, moved, made anew, forgotten."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from marm.cli.progress import StreamProgress
from marm.errors import SettingError
from marm.train import erase, inspect, transfer
from marm.train.folder import run_of
from marm.train.rebuild import rebuild as make_anew

app = typer.Typer(help="Look into a run's memory, check it, move it, make it anew, and forget.", no_args_is_help=True)
Quiet = Annotated[bool, typer.Option(help="no progress")]


@app.callback()
def _group() -> None:
    """Look into a run's memory, check it, move it, make it anew, and forget."""


@app.command()
def stats(folder: Path, as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False) -> None:
    """Users, rows, bytes by user, growth, and fill and age by depth."""
    found = inspect.memory_stats(folder)
    if as_json:
        typer.echo(json.dumps(found))
        return
    ages = [f"age_{unit}_{share}" for unit in ("steps", "hours") for share in ("p50", "p90")]
    names = [name.replace("age_", "age ").replace("_", " ") for name in ages]
    table = Table("depth", "rows", "bytes", "fill", *names, title=None)
    for depth in found["depths"]:
        fill = f"{depth['fill']:.1%}"
        cells = [depth["depth"], depth["rows"], depth["bytes"], fill, *(depth[age] for age in ages)]
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells))
    console, user, growth = Console(), found["user_bytes"], found["growth"]
    console.print(
        f"{found['users']:,} users, {found['rows']:,} rows with states, {found['bytes']:,} bytes in {found['url']}"
    )
    space = found["space"]
    console.print(
        f"where they lie: {space['used']:,} bytes used, {space['taken']:,} taken, {space['fragmentation']:.2f} for one"
    )
    console.print(
        f"bytes of a user: half have {user['p50']:,} or less, nine in ten {user['p90']:,}, most {user['max']:,}"
    )
    console.print(
        f"a day of the stream brings {growth['rows_a_day']:,} rows, {growth['bytes_a_day_at_most']:,} bytes at most"
    )
    console.print(table)


@app.command()
def verify(
    folder: Path,
    drop: Annotated[bool, typer.Option("--drop", help="forget users whose bytes are wrong")] = False,
    quiet: Quiet = False,
) -> None:
    """Check every remembered row against its checksum; exit code 1 where one is wrong."""
    with StreamProgress("verify", quiet) as progress:
        found = inspect.verify(folder, drop, progress)
    _show(found)
    if found["damaged"] and not drop:
        raise typer.Exit(1)


@app.command()
def compact(folder: Path) -> None:
    """Write the store anew without what is free in it; the old one serves until then."""
    _show(inspect.compact(folder))


@app.command()
def rebuild(folder: Path, quiet: Quiet = False) -> None:
    """Make all states anew with today's weights, beside the store that serves; goes on where it was stopped."""
    with StreamProgress("rebuild", quiet) as progress:
        _show(make_anew(folder, progress))


@app.command()
def flush(
    folder: Path,
    users: Annotated[list[str] | None, typer.Argument(help="ids, as the log has them")] = None,
    older_than: Annotated[
        str | None, typer.Option(help="users not seen for so long by the stream's time: 30d, 12h, 90s")
    ] = None,
    wait: Annotated[float, typer.Option(help="seconds to wait for a process that trains in the folder")] = 600.0,
) -> None:
    """Erase users wholly: memory, events, predictions, cuts, and what `marm serve` and `marm follow` keep of them."""
    if bool(users) == bool(older_than):
        raise SettingError("marm memory flush: name users, or give --older-than")
    hashes = erase.users_named(users) if users else erase.users_unseen(folder, seconds_of(older_than or ""))
    run_of(folder)
    _show({"asked": len(hashes), **erase.erase(folder, hashes, wait)})


def seconds_of(text: str) -> float:
    """A length of time such as 30d, 12h, 15m or 90s. Errors: ``SettingError``."""
    units = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
    try:
        return float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        raise SettingError(f"--older-than {text}: give a number and d, h, m or s: 30d") from None


@app.command()
def export(
    folder: Path,
    out: Annotated[Path, typer.Option(help="Parquet file to write")],
    states: Annotated[bool, typer.Option(help="the states too, or facts only")] = True,
) -> None:
    """Write memory to a Parquet file."""
    _show(transfer.export(folder, out, states))


@app.command(name="import")
def import_(folder: Path, file: Annotated[Path, typer.Argument(help="what `marm memory export` wrote")]) -> None:
    """Take users that are not there yet from an exported file; states only where the same model made them."""
    _show(transfer.import_(folder, file))


def _show(found: dict[str, Any]) -> None:
    typer.echo(json.dumps(found))
