"""`marm cluster-demo`: all of it on one machine, one of each killed, and the accounts even in the end."""

from pathlib import Path
from typing import Annotated

import typer

from marm.errors import SettingError


def cluster_demo(
    out: Annotated[Path | None, typer.Option(help="folder for all of it, replaced; a new one if not given")] = None,
    users: Annotated[int, typer.Option(min=2, help="users of the simulated app")] = 200,
    items: Annotated[int, typer.Option(min=100, help="its items")] = 1_000,
    events: Annotated[int, typer.Option(min=1_000, help="exposures in its log")] = 8_000,
) -> None:
    """Start a Redis cluster, two ranks that train, two servers and a load; kill one of each; count what came of it.

    Needs redis-server. Exit code 1 where an account is not even.
    """
    try:
        from marm.cli.cluster.demo import play
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise SettingError('marm cluster-demo: needs redis-py: `pip install "marm-recsys[redis]"`') from None
    found = play(out, users, items, events)
    for account in found:
        typer.echo(f"{'even' if account.even else 'NOT EVEN'}: {account.says}")
    if not all(account.even for account in found):
        raise typer.Exit(1)
