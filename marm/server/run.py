"""From a folder to a listening server, and its orderly end."""

import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import uvicorn

from marm.config import RunConfig, ServeConfig
from marm.errors import FolderError, SettingError
from marm.server.app import make_app
from marm.server.server import Server, check_servable, log_to_stderr, warm_up
from marm.train.erase import finish

_log = logging.getLogger("marm.server")
_GRACE = 10
"""Seconds that requests have to end once the server is asked to stop."""
_WAITING = 1024
"""Connections that are not taken up yet."""


def serve(
    folder: Path, run: RunConfig, host: str, port: int, ready: Callable[[str], None], quiet: bool = False
) -> None:
    """Serve a run folder until SIGTERM or SIGINT. ``ready`` is told the address once requests are taken.

    A token in MARM_TOKEN must come with every request. Errors: ``MarmError`` where the folder, the address or the
    certificate cannot be had.
    """
    check_servable(folder)
    check_certificate(run.serve)
    with suppress(FolderError):  # whoever trains in the folder carries it out
        finish(folder)
    place, token = _bound(host, port), os.environ.get("MARM_TOKEN") or None
    log_to_stderr()
    if token is None and not ip_address(place.getsockname()[0]).is_loopback:
        _log.warning("--host %s: whoever reaches it is answered: set MARM_TOKEN, which requests must bear then", host)
    server = Server(folder, run)
    try:
        warm_up(server)
        app = make_app(server, token, quiet)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_GRACE,
            ssl_certfile=run.serve.tls_certificate,
            ssl_keyfile=run.serve.tls_key,
        )
        listener = uvicorn.Server(config)
        _end_orderly(listener)
        name, number = place.getsockname()[:2]
        # Only now: a balancer takes who is refused to another server, and would wait for one who listens and is not ready.
        with _said(host, port):
            place.listen(_WAITING)
        kind = "https" if run.serve.tls_certificate else "http"
        ready(f"{kind}://{f'[{name}]' if ':' in name else name}:{number}")
        listener.run(sockets=[place])
    finally:
        server.close()


def check_certificate(config: ServeConfig) -> None:
    """Errors: ``SettingError`` where certificate and key cannot be read, or are no pair."""
    if config.tls_certificate is None:
        return
    try:
        # Where a password is needed, it must not be asked for at the terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(config.tls_certificate, config.tls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise SettingError(
            f"serve.tls_certificate = {config.tls_certificate!r}, serve.tls_key = {config.tls_key!r}: {error}: "
            "name a certificate and its key, both PEM, the key without a password"
        ) from None


def _end_orderly(listener: uvicorn.Server) -> None:
    """What uvicorn caught it raises again at its end; by the default handler the process would die before it has closed."""

    def end(number: int, frame: FrameType | None) -> None:
        listener.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the address, and refuses who connects."""
    with _said(host, port):
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        place = socket.socket(family)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((host, port))
    return place


@contextmanager
def _said(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError) as error:
        raise SettingError(f"--host {host} --port {port}: {error}: name another address") from None
