"""What a run remembers."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from marm.train.inspect import memory_stats

app = typer.Typer(help="Look into a run's memory.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look into a run's memory."""


@app.command()
def stats(folder: Path, as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False) -> None:
    """Users, rows, bytes, and fill and age by depth."""
    found = memory_stats(folder)
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("depth", "rows", "fill", "age p50 (steps)", "age p90 (steps)", title=None)
    for depth in found["depths"]:
        cells = [depth["depth"], depth["rows"], f"{depth['fill']:.1%}", depth["age_steps_p50"], depth["age_steps_p90"]]
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells))
    console = Console()
    console.print(
        f"{found['users']:,} users, {found['rows']:,} rows with states, {found['bytes']:,} bytes in {found['url']}"
    )
    console.print(table)
