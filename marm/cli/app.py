"""`marm`: a log in, a ranker that remembers out."""

import os
import sys

import typer

from marm.cli import data, memory, simulate, train
from marm.cli.demo import demo
from marm.cli.results import results
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
app.command()(simulate.simulate)
app.command()(train.train)
app.command()(train.resume)
app.command()(train.evaluate)
app.command()(train.predict)
app.command()(demo)
app.command()(results)
app.add_typer(memory.app, name="memory")

# glibc gives large freed blocks back to the system and takes a page fault for every page when it needs them again:
# kept, a step with long histories is several times faster. It reads these at start only.
_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}


def main() -> None:
    """Run a command; a user's mistake is one line and exit code 2."""
    if sys.platform == "linux" and not any(name in os.environ for name in _ALLOCATOR):
        os.execve(sys.executable, [sys.executable, "-m", "marm", *sys.argv[1:]], {**os.environ, **_ALLOCATOR})
    try:
        app()
    except MarmError as error:
        print(f"marm: {error}", file=sys.stderr)
        sys.exit(2)
