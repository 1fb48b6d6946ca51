"""The commands about data: a first run file, a check of everything, a sorted log, rows of lists."""

from math import isnan
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from marm.config import RunConfig, load_run
from marm.data.explode import explode_log
from marm.data.exploded import lines
from marm.data.init import init as write_run_file
from marm.data.slates import Asked
from marm.data.sort import sort_log
from marm.data.summary import Summary
from marm.data.validate import Report
from marm.data.validate import validate as check_data
from marm.errors import one_line

_BAD_INPUT = 2


def init(
    log: Annotated[Path, typer.Argument(help="The log: a file or a folder of Parquet, CSV or NDJSON.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run file to write.")] = Path("run.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write it anew if it is there.")] = False,
    user: Annotated[str | None, typer.Option("--user", help="The column of users, instead of a guess.")] = None,
    item: Annotated[str | None, typer.Option("--item", help="The column of items.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="The column of times.")] = None,
) -> None:
    """Look at a log and write a first, commented run file."""
    console = Console(stderr=True)
    given = {role: column for role, column in (("user", user), ("item", item), ("time", time)) if column is not None}
    with console.status(f"looking at {log}"):
        guess = write_run_file(log, out, force, given)
    tasks = ", ".join(guess.tasks)
    console.print(
        escape(one_line(f"user {guess.user}, item {guess.item}, time {guess.time}; tasks: {tasks}")),
        highlight=False,
        soft_wrap=True,
    )
    for line in guess.unsure:
        console.print(f"[yellow]unsure[/] {escape(one_line(line))}", highlight=False, soft_wrap=True)
    console.print(
        escape(f"wrote {out}: check its guesses, then run `marm validate {out}`"), highlight=False, soft_wrap=True
    )


def validate(
    run: Annotated[Path, typer.Argument(help="The run file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, laid over the run file.")] = None,
) -> None:
    """Read a run's data through and say everything that is wrong or doubtful; exit code 2 if something is wrong."""
    console = Console(stderr=True)
    settings = load_run(run, set_ or [])
    with console.status(f"reading {settings.data.log}"):
        report = check_data(settings)
    _print_troubles(console, report)
    if report.summary is not None:
        console.print(_table(report.summary, settings))
    if not report.ok:
        raise typer.Exit(_BAD_INPUT)


def sort(
    log: Annotated[Path, typer.Argument(help="The log: a file or a folder of Parquet, CSV or NDJSON.")],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    time: Annotated[str, typer.Option("--time", help="Its column of times.")],
    time_format: Annotated[
        str | None, typer.Option("--time-format", help="How they are written, as data.time_format.")
    ] = None,
) -> None:
    """Write a log in order of time; rows of one time stay in their order."""
    console = Console(stderr=True)
    with console.status(f"sorting {log}"):
        rows = sort_log(log, out, time, time_format)
    console.print(escape(f"wrote {rows:,} rows to {out}"), highlight=False)


def explode(
    log: Annotated[Path, typer.Argument(help="The log: a file or a folder of Parquet, CSV or NDJSON.")],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    list_: Annotated[str | None, typer.Option("--list", help="The column of lists, instead of a guess.")] = None,
    clicked: Annotated[
        list[str] | None, typer.Option("--clicked", help="A column of ids that were clicked; may be given again.")
    ] = None,
    item: Annotated[str | None, typer.Option("--item", help="The name of the new column of items.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write it anew if it is there.")] = False,
) -> None:
    """Write a log with a list on each row as rows, one for each item of a list."""
    console = Console(stderr=True)
    with console.status(f"making rows of {log}"):
        done = explode_log(log, out, Asked(list_, tuple(clicked or ()), item), force)
    for line in lines(done, out):
        console.print(escape(one_line(line)), highlight=False, soft_wrap=True)


def _print_troubles(console: Console, report: Report) -> None:
    colours = {"error": "red", "warning": "yellow"}
    for trouble in report.troubles:
        colour = colours[trouble.severity]
        line = f"[{colour}]{trouble.severity}[/] {escape(one_line(trouble.message))}"
        console.print(line, highlight=False, soft_wrap=True)
    if report.ok:
        console.print("the data can be used as it is", highlight=False)


def _table(summary: Summary, run: RunConfig) -> Table:
    table = Table(show_header=False, box=None)
    p50, p90, most = summary.events_per_user
    rows = {
        "events": f"{summary.rows:,}",
        "rows left out by data.where": f"{summary.dropped:,}",
        "users": f"{summary.users:,}",
        "items": f"{summary.items:,}",
        "events of a user (p50, p90, max)": f"{p50:,}, {p90:,}, {most:,}",
        "from": summary.first_time,
        "to": summary.last_time,
        "times are": summary.time_unit,
        "events that share user and time": f"{summary.tie_share:.1%}",
    }
    for name, value in summary.tasks.items():
        regression = run.tasks[name].kind == "regression"
        rows[f"{name} ({'mean' if regression else 'positive'})"] = (
            "-" if isnan(value) else f"{value:.4g}" if regression else f"{value:.2%}"
        )
    for key, text in rows.items():
        table.add_row(escape(key), text)
    return table
