"""The inspector's endpoints and its page."""

import math
import time
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path, Query, Request, Response

from marm.server.files import FILES, PATHS
from marm.server.inspector import Inspector
from marm.server.messages import Fault
from marm.server.server import Server
from marm.server.shown import ExplainAnswer, ExplainRequest, StatusAnswer, TimelineAnswer, UsersAnswer

_MOST_FOUND = 100
_NO_SUCH: dict[int | str, dict[str, Any]] = {404: {"model": Fault, "description": "An id with a line break"}}
_Limit = Annotated[int, Query(ge=1, le=1000)]
_Text = Annotated[str | None, Query(max_length=1000)]


def add_inspector(app: FastAPI, server: Server) -> None:
    """Add what the page asks for, and the page."""
    _add_page(app)
    _add_looking(app, server, Inspector(server))
    _add_status(app, server, time.monotonic())


def _add_page(app: FastAPI) -> None:
    async def page(request: Request) -> Response:
        return FILES[PATHS[request.url.path]].answer(request)

    for path in PATHS:
        app.add_api_route(path, page, include_in_schema=False)


def _add_looking(app: FastAPI, server: Server, inspector: Inspector) -> None:
    # Plain functions, which FastAPI runs beside its event loop: they wait for the thread that scores, and for the disk.
    @app.get("/v1/inspect/users", response_model=UsersAnswer)
    def users(
        search: _Text = None, random: Annotated[int, Query(ge=0, le=_MOST_FOUND)] = 10, limit: _Limit = 20
    ) -> Response:
        """Users whose id holds ``search``, in any case, or so many random ones."""
        return _json(inspector.users(search, random, limit))

    @app.get("/v1/inspect/users/{user:path}", response_model=TimelineAnswer, responses=_NO_SUCH)
    def timeline(
        user: Annotated[str, Path(min_length=1, max_length=1000)], at: _Text = None, limit: _Limit = 50
    ) -> Response:
        """A user's history as of a time (now, if none is given), newest first, and what memory holds of it."""
        return _json(inspector.timeline(user, None if at is None else server.times.read(_number(at)), limit))

    @app.post("/v1/explain", response_model=ExplainAnswer)
    def explain(body: ExplainRequest) -> Response:
        """What each layer and head attends to when it scores an item for a user, and the prediction."""
        at = None if body.at is None else server.times.read(body.at)
        return _json(inspector.explain(body.user, body.item, at, body.context))


def _number(text: str) -> int | float | str:
    """A time from an address: a number where it reads as one."""
    try:
        number = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return number if type(number) in (int, float) and math.isfinite(number) else text


def _json(answer: dict[str, Any]) -> Response:
    return Response(orjson.dumps(answer, default=str), media_type="application/json")


def _add_status(app: FastAPI, server: Server, begun: float) -> None:
    @app.get("/v1/status", response_model=StatusAnswer)
    async def status() -> StatusAnswer:
        """The cut, what memory holds, and how requests fare."""
        served, run = server.served, server.run
        guard, hot, stats = served.guard, served.scorer.engine.memory.hot, served.guard.stats()
        return StatusAnswer.model_validate(
            {
                "cut": served.number,
                "steps": served.steps,
                "events": len(served.scorer.log),
                "tail": len(server.tails),
                "uptime_s": round(time.monotonic() - begun, 3),
                "waiting": len(server.scoring),
                "model": {**run.model.model_dump(include={"layers", "heads", "width"}), "window": run.memory.window}
                | {"tasks": list(run.tasks)},
                "store": {
                    "kind": run.memory.url.partition("://")[0],
                    "state": "unreadable" if guard.broken else "ready",
                    **{name: getattr(stats, name) for name in ("users", "rows", "facts_rows", "bytes")},
                    "hot_users": len(hot),
                    "hot_slots": hot.slots,
                },
                "paths": [{"path": path, **recent.figures()} for path, recent in sorted(server.metrics.recent.items())],
            }
        )
