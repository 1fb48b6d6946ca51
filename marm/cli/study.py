"""Studies: many trainings on one log, compared."""

from pathlib import Path
from typing import Annotated

import typer

from marm.cli.progress import StreamProgress
from marm.cli.train import Sets
from marm.config import load_run
from marm.errors import SettingError
from marm.study import complexity_page, scaling_page
from marm.study.complexity import study_complexity
from marm.study.page import table, write_page
from marm.study.rivals import study_rivals
from marm.study.scaling import Grid, study_scaling
from marm.train.results import commit, machine

app = typer.Typer(help="Train many models on one log and compare them.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="folder of the study; the same again goes on where it was broken off")]


@app.callback()
def _group() -> None:
    """Train many models on one log and compare them."""


@app.command()
def rivals(
    run: Annotated[Path, typer.Argument(help="run file, with MARM as it is to be compared")],
    out: Out,
    models: Annotated[str | None, typer.Option(help="names with commas between (all)")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="seeds of each model")] = 3,
    grid: Annotated[
        list[str] | None, typer.Option(help="section.key=value,value to tune over (rate and window); none: as set")
    ] = None,
    sets: Sets = None,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Compare MARM with published models, each tuned over the same grid; prints a table, writes report.html."""
    lines = None if not grid else [] if grid == ["none"] else grid
    study = study_rivals(load_run(run, sets or []), out, lambda name: StreamProgress(name, quiet), models, seeds, lines)
    write_page(out, study)
    typer.echo(table(study))


@app.command()
def complexity(
    out: Out,
    windows: Annotated[str, typer.Option(help="rows that a target sees, with commas between")] = "64,128,256,512,1024",
    layers: Annotated[str, typer.Option(help="layers, with commas between")] = "1,2,3,4,6",
    width: Annotated[int, typer.Option(min=4, help="numbers in a state; four heads")] = 64,
    users: Annotated[int, typer.Option(min=1, help="users of a pass, one target each")] = 8,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Time and count self-attention, recomputed target attention and MARM; prints a table, writes report.html."""
    with StreamProgress("complexity", quiet) as progress:
        costs = study_complexity(
            out, numbers("windows", windows), numbers("layers", layers), width, users, progress.preparing
        )
    complexity_page.write_page(out, costs, {**machine(), "commit": commit()})
    typer.echo(complexity_page.table(costs))


@app.command()
def scaling(
    run: Annotated[Path, typer.Argument(help="run file")],
    out: Out,
    layers: Annotated[str, typer.Option(help="layers, with commas between")] = "1,2,3",
    windows: Annotated[str, typer.Option(help="rows that a target sees, with commas between")] = "25,50,100",
    widths: Annotated[str, typer.Option(help="numbers in a state, with commas between")] = "16,32",
    seeds: Annotated[int, typer.Option(min=1, help="seeds of each place")] = 1,
    sets: Sets = None,
    quiet: Annotated[bool, typer.Option(help="no progress")] = False,
) -> None:
    """Train every combination and fit what memory buys; prints a table, writes report.html."""
    grid = Grid(numbers("layers", layers), numbers("windows", windows), numbers("widths", widths))
    found = study_scaling(load_run(run, sets or []), out, lambda name: StreamProgress(name, quiet), grid, seeds)
    scaling_page.write_page(out, found)
    typer.echo(scaling_page.table(found))


def numbers(name: str, text: str) -> list[int]:
    """Whole numbers above zero from an option. Errors: ``SettingError``."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise SettingError(f"--{name} {text}: give whole numbers above zero with commas between")
    return sorted(set(found))
