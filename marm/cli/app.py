"""`marm`: a log in, a ranker that remembers out."""

import sys

import typer

from marm.cli.lazy import group_of
from marm.errors import MarmError, one_line

COMMANDS = {
    "init": "marm.cli.data:init",
    "validate": "marm.cli.data:validate",
    "sort": "marm.cli.data:sort",
    "explode": "marm.cli.data:explode",
    "simulate": "marm.cli.simulate:simulate",
    "ab": "marm.cli.ab:ab",
    "train": "marm.cli.train:train",
    "resume": "marm.cli.train:resume",
    "evaluate": "marm.cli.train:evaluate",
    "predict": "marm.cli.train:predict",
    "follow": "marm.cli.follow:follow",
    "serve": "marm.cli.serve:serve",
    "up": "marm.cli.up:up",
    "demo": "marm.cli.demo:demo",
    "cluster-demo": "marm.cli.cluster_demo:cluster_demo",
    "results": "marm.cli.results:results",
    "plan": "marm.cli.plan:plan",
    "memory": "marm.cli.memory:app",
    "study": "marm.cli.study:app",
}
"""Where each command stands, in the order of the help."""

app = typer.Typer(
    name="marm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    cls=group_of(COMMANDS),
)


@app.callback()
def _group() -> None:
    """Recommenders that remember what each attention layer made of a user's past."""


def main() -> None:
    """Run a command; a user's mistake is one line and exit code 2."""
    try:
        app()
    except MarmError as error:
        print(f"marm: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
