"""Studies: many trainings on one log, compared."""

from pathlib import Path
from typing import Annotated

import typer

from marm.cli.progress import StreamProgress
from marm.cli.train import Sets
from marm.config import RunConfig, load_run
from marm.errors import SettingError
from marm.study import age_page, complexity_page, data_page, misses_page, rivals_page, scaling_page, variants_page
from marm.study.ablate import ablate as ablations
from marm.study.age import study_age
from marm.study.codecs import codecs as of_codecs
from marm.study.complexity import study_complexity
from marm.study.data import study_data
from marm.study.misses import study_misses
from marm.study.rivals import study_rivals
from marm.study.runs import Show
from marm.study.scaling import Grid, study_scaling
from marm.study.segments import segments as of_segments
from marm.study.source import protocol, stream_of
from marm.study.tier import page as tier_page
from marm.study.tier.people import habits_of
from marm.study.tier.settings import costs_of, load_tier
from marm.study.tier.study import study_tier
from marm.study.variants import Design, study_variants
from marm.train.results import commit, machine

app = typer.Typer(help="Train many models on one log and compare them.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="folder of the study; the same again goes on where it was broken off")]
Run = Annotated[Path, typer.Argument(help="run file, with MARM as it is to be studied")]
Stream = Annotated[Path, typer.Argument(help="run file, or a folder that `marm train` made, whose stream is taken")]
Seeds = Annotated[int, typer.Option(min=1, help="seeds of each model")]
Quiet = Annotated[bool, typer.Option(help="no progress")]


@app.callback()
def _group() -> None:
    """Train many models on one log and compare them."""


@app.command()
def rivals(
    run: Run,
    out: Out,
    models: Annotated[str | None, typer.Option(help="names with commas between (all)")] = None,
    seeds: Seeds = 3,
    grid: Annotated[
        list[str] | None, typer.Option(help="section.key=value,value to tune over (rate and window); none: as set")
    ] = None,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Compare MARM with published models, each tuned over the same grid; prints a table, writes report.html."""
    lines = None if not grid else [] if grid == ["none"] else grid
    study = study_rivals(load_run(run, sets or []), out, _show(quiet), models, seeds, lines)
    rivals_page.write_page(out, study)
    typer.echo(rivals_page.table(study))


@app.command()
def complexity(
    out: Out,
    windows: Annotated[str, typer.Option(help="rows that a target sees, with commas between")] = "64,128,256,512,1024",
    layers: Annotated[str, typer.Option(help="layers, with commas between")] = "1,2,3,4,6",
    width: Annotated[int, typer.Option(min=4, help="numbers in a state; four heads")] = 64,
    users: Annotated[int, typer.Option(min=1, help="users of a pass, one target each")] = 8,
    quiet: Quiet = False,
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
    run: Run,
    out: Out,
    layers: Annotated[str, typer.Option(help="layers, with commas between")] = "1,2,3",
    windows: Annotated[str, typer.Option(help="rows that a target sees, with commas between")] = "25,50,100",
    widths: Annotated[str, typer.Option(help="numbers in a state, with commas between")] = "16,32",
    picked: Annotated[
        str | None, typer.Option(help="rows that a search picks, with commas between, 0: no search (the run's)")
    ] = None,
    seeds: Seeds = 1,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Train every combination and fit what memory buys; prints a table, writes report.html."""
    sizes = numbers("layers", layers), numbers("windows", windows), numbers("widths", widths)
    grid = Grid(*sizes, numbers("picked", picked, least=0) if picked else ())
    found = study_scaling(load_run(run, sets or []), out, _show(quiet), grid, seeds)
    scaling_page.write_page(out, found)
    typer.echo(scaling_page.table(found))


@app.command()
def ablate(
    run: Run,
    out: Out,
    only: Annotated[str | None, typer.Option(help="names of variants with commas between (all)")] = None,
    seeds: Seeds = 3,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Change one thing of the run file at a time; prints a table, writes report.html."""
    given = load_run(run, sets or [])
    _vary(given, out, ablations(given, only), seeds, quiet)


@app.command()
def segments(
    run: Run,
    out: Out,
    lives: Annotated[str, typer.Option(help="most live events of a user, with commas between")] = "1,4,16",
    batches: Annotated[str, typer.Option(help="most events of a step, with commas between")] = "64,256,1024",
    seeds: Seeds = 3,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """How segments form by live cap and micro-batch, and what that changes; prints a table, writes report.html."""
    design = of_segments(numbers("lives", lives), numbers("batches", batches))
    _vary(load_run(run, sets or []), out, design, seeds, quiet)


@app.command()
def codecs(run: Run, out: Out, seeds: Seeds = 3, sets: Sets = None, quiet: Quiet = False) -> None:
    """States in float32, float16 and int8: bytes, quality and drift of scores; prints a table, writes report.html."""
    _vary(load_run(run, sets or []), out, of_codecs(), seeds, quiet)


def _vary(run: RunConfig, out: Path, design: Design, seeds: int, quiet: bool) -> None:
    found = study_variants(run, out, _show(quiet), design, seeds)
    variants_page.write_page(out, found)
    typer.echo(variants_page.table(found))


@app.command()
def misses(run: Stream, out: Out, seeds: Seeds = 3, sets: Sets = None, quiet: Quiet = False) -> None:
    """What missing states cost: the last fifth again, with states of some users dropped; writes report.html."""
    stream = stream_of(run, sets or [], out)
    found = study_misses(*stream, out, _show(quiet), seeds)
    misses_page.write_page(out, found, protocol(*stream, seeds))
    typer.echo(misses_page.table(found))


@app.command()
def age(run: Stream, out: Out, seeds: Seeds = 3, sets: Sets = None, quiet: Quiet = False) -> None:
    """What older states cost: the last fifth scored by remembered states and by fresh ones; writes report.html."""
    stream = stream_of(run, sets or [], out)
    found = study_age(*stream, out, _show(quiet), seeds)
    age_page.write_page(out, found, protocol(*stream, seeds))
    typer.echo(age_page.table(found))


@app.command()
def data(
    run: Run,
    out: Out,
    start: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="share of the stream after which the cold one begins")
    ] = 0.5,
    sample: Annotated[
        float, typer.Option(min=0, max=1, help="share of the events that the second one learns from")
    ] = 0.5,
    windows: Annotated[int, typer.Option(min=1, help="windows of the rest that are compared")] = 20,
    seeds: Seeds = 3,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """All of the data, a share of it, and a late start on the same stream; prints a table, writes report.html."""
    found = study_data(load_run(run, sets or []), out, _show(quiet), start, sample, windows, seeds)
    data_page.write_page(out, found)
    typer.echo(data_page.table(found))


@app.command()
def tier(
    out: Out,
    file: Annotated[Path | None, typer.Option(help="TOML with sections people, ring, machines, costs, prices")] = None,
    log: Annotated[Path | None, typer.Option(help="run folder whose log's users people come like")] = None,
    costs: Annotated[
        Path | None, typer.Option(help="JSON lines of `python -m benchmarks.tier`; the last one counts")
    ] = None,
    users: Annotated[int, typer.Option(min=10, help="users of all that are simulated")] = 50_000,
    calls: Annotated[int, typer.Option(min=100, help="readings of the busiest hour that are simulated")] = 200_000,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Simulate memory at a scale: hits, queues, machines, cost, and what moves them; prints tables, writes report.html."""
    settings = load_tier(file, sets or [], costs_of(costs) if costs else None, habits_of(log) if log else None)
    with StreamProgress("tier", quiet) as progress:
        found = study_tier(settings, out, users, calls, progress.preparing)
    tier_page.write_page(out, found)
    typer.echo(tier_page.table(found))


def _show(quiet: bool) -> Show:
    return lambda name: StreamProgress(name, quiet)


def numbers(name: str, text: str, least: int = 1) -> list[int]:
    """Whole numbers from an option, none below ``least``. Errors: ``SettingError``."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < least:
        raise SettingError(f"--{name} {text}: give whole numbers from {least} up with commas between")
    return sorted(set(found))
