"""The endpoints: messages in, answers out; all work is done by the server's threads."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from marm import errors
from marm.data.values import hashes_of
from marm.server.asking import Question
from marm.server.http import App, Gate
from marm.server.inspector_app import add_inspector
from marm.server.messages import (
    EventsAnswer,
    EventsRequest,
    Fault,
    ItemsAnswer,
    ItemsRequest,
    RankAnswer,
    RankRequest,
    Readiness,
    RecommendRequest,
    RetrieveAnswer,
    RetrieveRequest,
    what_is_wrong,
)
from marm.server.pipeline import Answer
from marm.server.server import Server
from marm.server.worker import Busy
from marm.types import U64

_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "No JSON"},
    401: {"model": Fault, "description": "No token, or a wrong one"},
    408: {"model": Fault, "description": "The body took too long to arrive"},
    413: {"model": Fault, "description": "The body is too large"},
    415: {"model": Fault, "description": "The body is not said to be JSON"},
    422: {"model": Fault, "description": "The request, or a row of it, cannot be taken"},
    503: {"model": Fault, "description": "Too many requests wait, or the disk or the broker refuses"},
}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def make_app(server: Server, token: str | None = None, quiet: bool = False) -> App:
    """The server as an ASGI app. ``token``: what requests must bear; ``quiet``: no access log."""
    app = FastAPI(title="marm", version="1", description=__doc__, responses=_FAULTS)
    _add_faults(app)
    _add_answers(app, server)
    _add_told(app, server)
    _add_state(app, server)
    add_inspector(app, server)
    return Gate(app, server.metrics, token, server.run.serve.most_body, quiet)


def _add_faults(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _fault(422, what_is_wrong(error.errors(), error.body))

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return _fault(error.status, str(error))

    @app.exception_handler(errors.DataError)
    async def wrong(request: Request, error: errors.DataError) -> Response:
        return _fault(422, str(error))

    @app.exception_handler(errors.DiskError)
    @app.exception_handler(errors.FolderError)
    async def disk(request: Request, error: errors.DiskError | errors.FolderError) -> Response:
        return _fault(503, str(error))

    @app.exception_handler(errors.BrokerError)
    async def broker(request: Request, error: errors.BrokerError) -> Response:
        return _fault(503, str(error), {"retry-after": "1"})

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> Response:
        return _fault(503, "too many requests wait: try again soon", {"retry-after": "1"})

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        return _fault(error.status_code, str(error.detail), dict(error.headers or {}))


def _add_answers(app: FastAPI, server: Server) -> None:
    config = server.run.serve

    @app.post("/v1/rank", response_model=RankAnswer)
    async def rank(body: RankRequest, request: Request) -> Response:
        """Put candidates in order for a user, each once; candidates never see each other."""
        _check_count("candidates", len(body.candidates), config.most_candidates, "most_candidates")
        question = _question(server, body, body.k, *_each_once(body.candidates))
        return await _answered(server, request, question)

    @app.post("/v1/recommend", response_model=RankAnswer)
    async def recommend(body: RecommendRequest, request: Request) -> Response:
        """What to show to a user: stages narrow, ranking puts in order."""
        return await _answered(server, request, _narrowing(server, body))

    @app.post(
        "/v1/retrieve", response_model=RetrieveAnswer, responses={501: {"model": Fault, "description": "Not trained"}}
    )
    async def retrieve(body: RetrieveRequest, request: Request) -> Response:
        """What the retrieval stage finds for a user."""
        if not (server.served.ready and server.served.ready.retrieval):
            raise Refused(501, "this run has no retrieval stage: train one with [stages.retrieval] in its run file")
        return await _answered(server, request, replace(_narrowing(server, body), retrieved=True))


def _narrowing(server: Server, body: RecommendRequest | RetrieveRequest) -> Question:
    """A question whose candidates the stages find; lists of items may be as long as the index's answer is worth."""
    most = server.run.serve.most_candidates
    for name, items in (("exclude", body.exclude), ("allow", body.allow or [])):
        _check_count(name, len(items), most, "most_candidates")
    question = _question(server, body, body.k, None, [])
    allow = None if body.allow is None else hashes_of(body.allow)
    until = time.perf_counter() + server.run.serve.time_budget
    return replace(question, exclude=hashes_of(body.exclude), allow=allow, until=until)


def _each_once(items: list[Any]) -> tuple[U64, list[Any]]:
    """Hashes of items, and their ids; of those that stand there several times the first."""
    keys = hashes_of(items)
    first = np.sort(np.unique(keys, return_index=True)[1])
    return keys[first], [items[at] for at in first.tolist()]


def _check_count(name: str, found: int, most: int, setting: str) -> None:
    if found > most:
        raise Refused(422, f"{name}: {found} of them, at most {most} are taken: send fewer, or raise serve.{setting}")


def _question(server: Server, body: Any, k: int | None, candidates: Any, names: list[Any]) -> Question:
    if k is not None:
        _check_count("k", k, server.run.serve.most_k, "most_k")
    at = server.times.now() if body.at is None else server.times.read(body.at)
    context, user = server.pipeline.asker.columns(body.context)
    return Question(int(hashes_of([body.user])[0]), at, context, user, k, candidates, names)


async def _answered(server: Server, request: Request, question: Question) -> Response:
    begun, budget = time.perf_counter(), server.run.serve.time_budget
    try:
        await server.bring(question.user, budget)
        answer = await server.scoring.do(question, max(budget - (time.perf_counter() - begun), 0.0))
    except Busy:
        server.metrics.busy.inc()
        raise
    ms = (time.perf_counter() - begun) * 1000
    request.state.log = {"cut": answer.cut, "candidates": len(question.names), "degraded": answer.degraded}
    return Response(_json_of(answer, list(server.run.tasks), ms), media_type="application/json")


def _json_of(answer: Answer, tasks: list[str], ms: float) -> bytes:
    worked = sum(stage.ms for stage in answer.stages)
    items: list[dict[str, Any]]
    if answer.tasks is None:
        items = [{"item": n, "score": s} for n, s in zip(answer.names, answer.score.tolist(), strict=True)]
    else:
        rows = zip(answer.names, answer.score.tolist(), answer.tasks.tolist(), strict=True)
        items = [{"item": n, "score": s, "tasks": dict(zip(tasks, t, strict=True))} for n, s, t in rows]
    trace = {
        "cut": answer.cut,
        "stages": [{"stage": s.stage, "taken": s.taken, "given": s.given, "ms": s.ms} for s in answer.stages],
        "tail": answer.tail,
        "waited_ms": round(max(0.0, ms - worked), 3),
        "ms": round(ms, 3),
    }
    return orjson.dumps({"items": items, "trace": trace, "degraded": answer.degraded is not None}, default=str)


def _add_told(app: FastAPI, server: Server) -> None:
    most = server.run.serve.most_events
    budget = max(server.run.serve.time_budget, 5.0)

    @app.post("/v1/events", status_code=202, response_model=EventsAnswer)
    async def events(body: EventsRequest) -> EventsAnswer:
        """Take feedback: on the disk before this answers, in the user's next answer, in weights at the next cut."""
        _check_count("events", len(body.events), most, "most_events")
        answer = await server.telling.do(body.events, budget)
        for what, count in answer.model_dump().items():
            server.metrics.events.labels(what).inc(count)
        return answer

    @app.post("/v1/items", response_model=ItemsAnswer)
    async def items(body: ItemsRequest) -> ItemsAnswer:
        """Add, change or withdraw items; from the next answer on."""
        _check_count("items", len(body.items), most, "most_events")
        told = [item.model_dump(exclude_none=True) for item in body.items]
        # Before the journal holds them: what it holds must be shown, however long that waits.
        server.scoring.check_room()
        await server.telling.do_between(lambda: server.catalogue.tell(told), budget)
        await server.scoring.between(server.show_items)
        return ItemsAnswer(accepted=len(told))


def _add_state(app: FastAPI, server: Server) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "It cannot"}})
    async def readyz() -> Response:
        """Whether it answers as it should: 503 where answers would be degraded."""
        why = server.ready()
        body = {"status": why or "ready", "cut": server.served.number}
        return Response(orjson.dumps(body), 503 if why else 200, media_type="application/json")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times, as Prometheus reads them."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


def _fault(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    # Half a character, which JSON may hold, is repeated as it was escaped.
    why = why.encode(errors="backslashreplace").decode()
    return Response(orjson.dumps({"error": why}), status, headers=headers, media_type="application/json")
