"""An A/B test in the simulated app."""

from pathlib import Path
from typing import Annotated

import typer

from marm.cli.progress import StreamProgress

_ARMS = "names or .toml files with commas between; the others are compared with the first"


def ab(
    world: Annotated[Path, typer.Argument(help="folder of marm simulate")],
    out: Annotated[Path, typer.Option(help="folder of the test; the same again reads arms that are finished")],
    arms: Annotated[str, typer.Option(help=_ARMS)] = "popularity,one_layer,marm",
    users: Annotated[int, typer.Option(help="users of the world who take part; 0: all")] = 0,
    days: Annotated[float, typer.Option(help="days of the test")] = 2.0,
    before: Annotated[float, typer.Option(help="days of the app's own feed before it")] = 1.0,
    tick: Annotated[float, typer.Option(help="seconds in which all who come are served together")] = 120.0,
    seeds: Annotated[int, typer.Option(help="of every arm that has models", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="the first of them; also of dealing and intervals")] = 0,
    paired: Annotated[bool, typer.Option("--paired", help="every arm has all users, in a world of its own")] = False,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Test policies on simulated users who come, watch, leave and return; prints a table, writes report.html."""
    # Imported here: compiled parts load slowly, and other commands do not need them.
    from marm.study.ab.loop import Span
    from marm.study.ab.page import table, write_page
    from marm.study.ab.study import study_ab

    span = Span(before, days, tick)
    test = study_ab(world, arms, out, lambda name: StreamProgress(name, quiet), span, users, seed, paired, seeds)
    write_page(out, test)
    typer.echo(table(test))
