"""Simulate a short-video app."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_EFFECTS = "drift, satiation, order, long: any of them, with commas between; empty for none"


def simulate(
    out: Annotated[Path, typer.Option(help="new folder for the log, its truth and a run file")],
    users: Annotated[int, typer.Option(help="users")] = 500,
    items: Annotated[int, typer.Option(help="items")] = 2_000,
    events: Annotated[int, typer.Option(help="exposures in all")] = 60_000,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    effects: Annotated[str, typer.Option(help=_EFFECTS)] = "drift,satiation",
    interest_length: Annotated[
        float, typer.Option(help="drift: half-life of an interest, in events of a user")
    ] = 100.0,
    long_period: Annotated[int, typer.Option(help="long: events of a user until an author comes back")] = 2_000,
    content: Annotated[int, typer.Option(help="width of a content embedding of items; 0 for none")] = 0,
    days: Annotated[int, typer.Option(help="days that all of it takes: fewer, and more users are there at once")] = 31,
) -> None:
    """Simulate a short-video app: exposures and what came of them, the true chances, and a run file to train on."""
    # Imported here: compiled parts load slowly, and other commands do not need them.
    from marm import world

    config = world.WorldConfig(
        users, items, events, seed, world.parse_effects(effects),
        interest_length=interest_length, long_period=long_period, content=content, days=days,
    )  # fmt: skip
    world.check_free(out)
    columns = (TextColumn("simulate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulate", total=2 * events)
        world.write(world.simulate(config, lambda n: bar.advance(task, n)), out, lambda n: bar.advance(task, n))
    typer.echo(f"{out}: {events:,} events of {users:,} users and {items:,} items; train on it with {out / 'run.toml'}")
