"""A server on a free port of this machine, in threads of this process, and a client for it."""

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import uvicorn

from marm.config import load_run
from marm.server.app import make_app
from marm.server.server import Server


class Running:
    """Listens until stopped."""

    def __init__(self, folder: Path, sets: Sequence[str] = (), token: str | None = None, **options: Any) -> None:
        self.server = Server(folder, load_run(folder / "run.toml", sets), **options)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(64)
        app = make_app(self.server, token, quiet=True)
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        self._thread = Thread(target=self._uvicorn.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        while not self._uvicorn.started:
            time.sleep(0.005)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.client = httpx.Client(base_url=self.address, timeout=30)

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
        """The answer's JSON; its status must be as said."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Let it end; twice does nothing."""
        if self._thread.is_alive():
            self.client.close()
            self._uvicorn.should_exit = True
            self._thread.join()
            self._socket.close()
            self.server.close()
