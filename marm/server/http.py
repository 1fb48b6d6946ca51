"""What stands before every request: the token, the limit on bodies, the access log, the metrics."""

import asyncio
import hmac
import json
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from marm.server.files import PATHS
from marm.server.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = {"/healthz", "/readyz", *PATHS}
"""Asked by machines that hold no token; and the inspector's page, which asks for one."""
_SLOW = 10.0
"""Seconds in which a body must arrive."""


class Gate:
    """ASGI middleware around the app."""

    def __init__(self, app: App, metrics: Metrics, token: str | None, most_body: int, quiet: bool = False) -> None:
        self._app, self._metrics, self._most, self._quiet = app, metrics, most_body, quiet
        self._token = f"Bearer {token}".encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the app's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, told = time.perf_counter(), {"status": 500, "bytes": 0}

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
            else:
                told["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._let_in(scope, receive, counted)
        finally:
            self._note(scope, told, time.perf_counter() - begun)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if self._token and scope["path"] not in _OPEN:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._token):
                await _refuse(send, 401, "no token, or a wrong one: send `Authorization: Bearer TOKEN`")
                return
        if scope["method"] == "POST" and not _is_json(headers.get(b"content-type", b"")):
            await _refuse(send, 415, "the body is not said to be JSON: send `content-type: application/json`")
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            await _refuse(send, 413, self._too_large(length.decode()))
            return
        try:
            body = await asyncio.wait_for(self._body(receive), _SLOW)
        except TimeoutError:
            await _refuse(send, 408, f"the body took longer than {_SLOW:.0f} seconds to arrive: send it at once")
            return
        if body is None:
            await _refuse(send, 413, self._too_large("more"))
            return
        given_out = False

        async def replay() -> MutableMapping[str, Any]:
            nonlocal given_out
            if given_out:
                return await receive()
            given_out = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    def _too_large(self, found: str) -> str:
        return f"a body of {found} bytes, at most {self._most} are taken: send less at once, or raise serve.most_body"

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body; None where it is too large."""
        parts, size = [], 0
        while True:
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            if size > self._most:
                return None
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    def _note(self, scope: Scope, told: dict[str, int], seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path_format", None) or "other"
        self._metrics.note(path, told["status"], seconds)
        if self._quiet:
            return
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "method": scope["method"],
            "path": scope["path"],
            "status": told["status"],
            "ms": round(seconds * 1000, 3),
            "bytes": told["bytes"],
            "client": (scope.get("client") or [None])[0],
            **scope.get("state", {}).get("log", {}),
        }
        print(json.dumps(line), file=sys.stderr)


def _is_json(kind: bytes) -> bool:
    # No other kind is read as JSON: a page of another site may post those from a browser here without asking.
    return kind.split(b";")[0].strip().lower() == b"application/json"


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 413, 415):
        # What is left of the body is not read.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
