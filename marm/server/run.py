"""From a folder to a listening server, and its orderly end."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from marm.config import RunConfig
from marm.errors import FolderError, SettingError
from marm.server.app import make_app
from marm.server.server import Server, check_servable, log_to_stderr, warm_up
from marm.train.erase import finish

_GRACE = 10
"""Seconds that requests have to end once the server is asked to stop."""


def serve(
    folder: Path, run: RunConfig, host: str, port: int, ready: Callable[[str], None], quiet: bool = False
) -> None:
    """Serve a run folder until SIGTERM or SIGINT. ``ready`` is told the address once requests are taken.

    A token in MARM_TOKEN must come with every request. Errors: ``MarmError`` where the folder or address cannot be had.
    """
    check_servable(folder)
    with suppress(FolderError):  # whoever trains in the folder carries it out
        finish(folder)
    listening = _listen(host, port)
    log_to_stderr()
    server = Server(folder, run)
    try:
        warm_up(server)
        app = make_app(server, os.environ.get("MARM_TOKEN") or None, quiet)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_GRACE,
        )
        listener = uvicorn.Server(config)
        _end_orderly(listener)
        name, number = listening.getsockname()[:2]
        ready(f"http://{f'[{name}]' if ':' in name else name}:{number}")
        listener.run(sockets=[listening])
    finally:
        server.close()


def _end_orderly(listener: uvicorn.Server) -> None:
    """What uvicorn caught it raises again at its end; by the default handler the process would die before it has closed."""

    def end(number: int, frame: FrameType | None) -> None:
        listener.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except (OSError, OverflowError) as error:
        raise SettingError(f"--host {host} --port {port}: {error}: name another address") from None
    return listening
