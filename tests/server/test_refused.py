"""A request that cannot be taken is refused whole, in one line that names the place and what may stand there."""

import json
from pathlib import Path
from typing import Any

import pytest

from marm.data import inbox
from marm.data.place import Position
from marm.errors import DataError
from tests.server.test_serving import JSON, RANK, Start, event

HALF = r'"\ud800"'


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"outcomes": {"clicks": 1}}, "events[1].outcomes: no outcome clicks: did you mean click?"),
        ({"outcomes": {"click": 7}}, "events[1]"),
        ({"context": {"pge": "p1"}}, "events[1].context: no pge: did you mean page?"),
        ({"user": None}, "events[1]: e9 was not told yet: give its user and item"),
        ({"user": None, "item": None, "outcomes": {}}, "events[1]: e9 was not told yet"),
        ({"at": "yesterday"}, "events[1]: at = 'yesterday' is no time"),
        ({"at": 9e9}, "is in the future"),
        ({"at": 1e308}, "is no time"),
    ],
)
def test_a_bad_row_is_named_and_nothing_of_its_request_is_taken(
    folder: Path, start: Start, bad: dict, says: str
) -> None:
    server = start(folder)
    row = event(9) | bad
    if bad == {"user": None}:
        row["outcomes"] = {}
    answer = server.post("/v1/events", {"events": [event(1), row]}, 422)
    assert says in answer["error"]
    assert inbox.read(folder / "inbox", Position())[0] == []


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("rank", {"user": [1], "candidates": [1]}, "user: give text or a whole number or a number"),
        ("rank", {"user": 1, "candidates": [1, {}]}, "candidates.1: give text or a whole number or a number"),
        ("rank", {"user": 1}, "candidates: Field required"),
        ("rank", {"user": 1, "candidates": [1], "kk": 3}, "kk: Extra inputs are not permitted"),
        ("rank", {"user": 1, "candidates": [1], "k": 0}, "k: Input should be greater than or equal to 1"),
        ("rank", b"{nope", "the body is not JSON: Expecting property name enclosed in double quotes at character 1"),
        ("items", {"items": [{"item": 1, "available_from": "x"}]}, "items[0]: available_from = 'x' is no time as the log"),
        ("events", {"events": [event(1) | {"outcomes": {"click": 7}}]}, "events[0]: click = 7 is neither 0 nor 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_place_and_what_may_stand_there(
    folder: Path, start: Start, path: str, body: Any, says: str
) -> None:
    told = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = start(folder).client.post(f"/v1/{path}", content=told, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"][: len(says)]) == (422, says)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v1/events", '{"events": [{"event_id": "e1", "user": 1, "item": 2, "context": {%s: 1}}]}', "context."),
        ("/v1/events", '{"events": [{"event_id": "e1", "user": 1, "item": 2, "outcomes": {%s: 1}}]}', "outcomes."),
        (
            "/v1/events",
            '{"events": [{"event_id": "e1", "user": 1, "item": 2, "context": {"page": %s}}]}',
            "context.page",
        ),
        ("/v1/events", '{"events": [{"event_id": "e1", %s: 1}]}', "events.0"),
        ("/v1/rank", '{"user": 1, "candidates": [1], "context": {%s: 1}}', "context."),
        ("/v1/rank", '{"user": %s, "candidates": [1]}', "user"),
        ("/v1/rank", '{"user": 1, "candidates": [1], %s: 1}', "unicode"),
        ("/v1/items", '{"items": [{"item": 1, "features": {%s: 1}}]}', "features."),
    ],
)
def test_half_a_character_is_refused_wherever_it_stands(
    folder: Path, start: Start, path: str, body: str, says: str
) -> None:
    answer = start(folder).client.post(path, content=body % HALF, headers=JSON)
    assert answer.status_code == 422 and says in answer.json()["error"], answer.text


def test_an_error_can_be_said_whatever_text_it_holds(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise DataError("no \ud800")

    server = start(folder)
    monkeypatch.setattr(server.server.pipeline.asker, "columns", refuse)
    assert server.post("/v1/rank", RANK, 422) == {"error": r"no \ud800"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_a_body_that_is_not_said_to_be_json_is_refused_and_the_remedy_named(
    folder: Path, start: Start, kind: str
) -> None:
    answer = start(folder).client.post("/v1/rank", content=json.dumps(RANK), headers={"content-type": kind})
    assert answer.status_code == 415 and "application/json" in answer.json()["error"]
