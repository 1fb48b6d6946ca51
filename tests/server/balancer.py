"""A balancer of the tests: requests go to servers in turn, and past one that is not there; nothing is sent twice."""

from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any

import httpx


class Balancer:
    """Listens on this machine until it is left; ``tried`` counts requests that were taken."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses, self._turn = list(addresses), count()
        balancer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                balancer.pass_on(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                """No log."""

        self._http = httpx.Client(timeout=60)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Balancer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._http.close()

    def pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        """To the next server that takes connections; 502 where it dies before it answers, since it may have done the work."""
        body = asked.rfile.read(int(asked.headers.get("content-length", 0)))
        headers = {"content-type": "application/json"}
        answer = httpx.Response(502, json={"error": "no server"})
        # One turn for a request, or two that fail at once could both be sent to the dead one twice.
        turn = next(self._turn)
        for number in range(len(self.addresses)):
            address = self.addresses[(turn + number) % len(self.addresses)]
            try:
                answer = self._http.request(asked.command, address + asked.path, content=body, headers=headers)
                break
            except httpx.ConnectError:
                continue
            except httpx.HTTPError:
                break
        asked.send_response(answer.status_code)
        asked.send_header("content-type", "application/json")
        asked.send_header("content-length", str(len(answer.content)))
        asked.end_headers()
        asked.wfile.write(answer.content)
