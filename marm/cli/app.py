"""`marm`: a log in, a ranker that remembers out."""

import sys

import typer

from marm.cli import ab, data, memory, simulate, study, train
from marm.cli.cluster_demo import cluster_demo
from marm.cli.demo import demo
from marm.cli.follow import follow
from marm.cli.plan import plan
from marm.cli.results import results
from marm.cli.serve import serve
from marm.cli.up import up
from marm.errors import MarmError

app = typer.Typer(
    name="marm",
    help="Recommenders that remember what each attention layer made of a user's past.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(data.init)
app.command()(data.validate)
app.command()(data.sort)
app.command()(data.explode)
app.command()(simulate.simulate)
app.command()(ab.ab)
app.command()(train.train)
app.command()(train.resume)
app.command()(train.evaluate)
app.command()(train.predict)
app.command()(follow)
app.command()(serve)
app.command()(up)
app.command()(demo)
app.command()(cluster_demo)
app.command()(results)
app.command()(plan)
app.add_typer(memory.app, name="memory")
app.add_typer(study.app, name="study")


def main() -> None:
    """Run a command; a user's mistake is one line and exit code 2."""
    try:
        app()
    except MarmError as error:
        print(f"marm: {error}", file=sys.stderr)
        sys.exit(2)
