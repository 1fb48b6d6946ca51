"""`marm serve`: a trained run answers over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from marm.config import load_run
from marm.errors import SettingError


def serve(
    folder: Path,
    host: Annotated[str, typer.Option(help="address to listen at; this machine only, if not given")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port; 0 for any that is free")] = 8000,
    sets: Annotated[list[str] | None, typer.Option("--set", help="serve.key=value, laid over the run's own")] = None,
    quiet: Annotated[bool, typer.Option(help="no access log")] = False,
) -> None:
    """Answer over HTTP from a run folder's newest cut, and take feedback; the first line printed is the address.

    With MARM_TOKEN in the environment, requests must bear it.
    """
    other = next((value for value in sets or [] if not value.startswith("serve.")), None)
    if other is not None:
        raise SettingError(f"--set {other}: a trained run keeps its settings, only those of [serve] may change")
    run = load_run(folder / "run.toml", sets or [])
    # Imported here: other commands do not need an HTTP server.
    from marm.server.run import serve as listen

    listen(folder, run, host, port, typer.echo, quiet)
