"""Whatever comes, the server answers as its OpenAPI says and goes on: no error of ours, no hang."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from marm.server import http
from tests.server.running import Running

CASES, SOAK_CASES = 150, 10_000
PATIENCE = 20.0
"""Seconds for one answer."""
CHECKS = [
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def running(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for all tests here."""
    folder = Path(shutil.copytree(trained_once, tmp_path_factory.mktemp("fuzzed") / "run"))
    server = Running(folder)
    yield server
    server.stop()


def test_every_answer_is_one_that_the_openapi_promises(running: Running, soak: Callable[[int, int], int]) -> None:
    schema = schemathesis.openapi.from_url(f"{running.address}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 8
    cases, asked = soak(CASES, SOAK_CASES), 0
    posts = [one for one in operations if one.method == "post"]
    shares = [(one, mode) for one in posts for mode in GenerationMode] + [
        (one, GenerationMode.POSITIVE) for one in operations if one.method == "get"
    ]
    for operation, mode in shares:

        @settings(
            max_examples=-(-cases // (2 * len(posts))),
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(timeout=PATIENCE)
            assert answer.status_code in (501, 503) or answer.status_code < 500, case.as_curl_command()
            # A body that is too large is refused unread, whatever it holds; schemathesis does not count that as a refusal.
            excluded = [negative_data_rejection] if answer.status_code == 413 else []
            case.validate_response(answer, checks=[check for check in CHECKS if check not in excluded])

        ask()
    assert running.client.get("/healthz").status_code == 200
    assert asked >= cases


EVENT = {"event_id": "f1", "user": "u1", "item": 1, "at": 1_600_500_001}
DEEP = "[" * 100_000 + "]" * 100_000
BODIES: dict[str, str] = {
    "NaN": '{"user": 1, "candidates": [NaN]}',
    "Infinity": '{"user": 1, "candidates": [1], "at": -Infinity}',
    "beyond a double": '{"user": 1, "candidates": [1e400]}',
    "beyond 64 bits": '{"user": 1, "candidates": [1' + "0" * 5000 + "]}",
    "an id of 10 kB": json.dumps({"user": "x" * 10_000, "candidates": [1]}),
    "an empty id": '{"user": "", "candidates": [1]}',
    "deep lists": '{"user": 1, "candidates": ' + DEEP + "}",
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "half a surrogate": '{"user": "\\ud800", "candidates": [1]}',
    "not closed": '{"user": 1, "candidates": [1',
    "two documents": '{"user": 1, "candidates": [1]} {"user": 2}',
    "nothing": "",
    "null": "null",
    "a list": "[1]",
    "true for k": '{"user": 1, "candidates": [1], "k": true}',
    "no user": '{"candidates": [1]}',
    "a field too many": '{"user": 1, "candidates": [1], "secret": 1}',
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_is_no_request_is_a_fault_of_the_client_with_one_line(running: Running, kind: str) -> None:
    answer = running.client.post("/v1/rank", content=BODIES[kind], headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json().keys() == {"error"} and "\n" not in answer.json()["error"]
    assert len(answer.json()["error"]) < 1000


def test_bytes_that_are_no_text_are_a_fault_of_the_client(running: Running) -> None:
    for body in (b'{"user": "\xff\xfe"}', b"\xef\xbb\xbf{}", b"\x00", '{"user": 1}'.encode("utf-16")):
        answer = running.client.post("/v1/rank", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), (body, answer.text)


def test_of_a_name_that_stands_twice_the_last_counts(running: Running) -> None:
    body = '{"user": 1, "candidates": [1], "candidates": [2, 3]}'
    answer = running.client.post("/v1/rank", content=body, headers={"content-type": "application/json"})
    assert sorted(one["item"] for one in answer.json()["items"]) == [2, 3]


@pytest.mark.parametrize(
    "name", ["\u0000", "\U0001f9ff" * 300, "\u202eabc", "a\nb", "'; DROP TABLE", "../../etc/passwd"]
)
def test_odd_text_is_an_id_like_any_other(running: Running, name: str) -> None:
    told = {"events": [{**EVENT, "event_id": name, "user": name, "item": name}]}
    assert running.post("/v1/events", told, 202)["accepted"] == 1
    assert running.post("/v1/events", told, 202)["duplicates"] == 1
    (found,) = running.post("/v1/rank", {"user": name, "candidates": [name]})["items"]
    assert found["item"] == name


def raw(running: Running, *parts: bytes, pause: float = 0.0, patience: float = PATIENCE) -> bytes:
    """What the server says to these bytes until it closes or falls silent."""
    host, port = running.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=patience) as wire:
        for part in parts:
            wire.sendall(part)
            time.sleep(pause)
        wire.settimeout(patience)
        return wire.recv(65536)


HEAD = b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def test_a_length_that_is_a_lie_is_answered_and_closed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_SLOW", 0.3)
    said = raw(running, HEAD + b"content-length: 500\r\n\r\n{}")
    assert said.startswith(b"HTTP/1.1 408 ") and b"connection: close" in said
    for length in (b"-1", b"1e3", b"9" * 30, b"5, 6"):
        said = raw(running, HEAD + b"content-length: " + length + b"\r\n\r\n{}")
        assert said.split()[1] in (b"400", b"413"), said


def test_a_body_that_trickles_in_is_given_up_and_others_are_answered_meanwhile(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_SLOW", 0.5)
    host, port = running.address.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port)), timeout=PATIENCE) for _ in range(50)]
    for wire in slow:
        wire.sendall(HEAD + b"content-length: 100\r\n\r\n{")
    running.post("/v1/rank", {"user": 1, "candidates": [1]})
    for _ in range(10):
        time.sleep(0.1)
        for wire in slow:
            with suppress(OSError):  # given up already
                wire.sendall(b" ")
    for wire in slow:
        assert wire.recv(65536).startswith(b"HTTP/1.1 408 ")
        wire.close()


def test_a_body_in_pieces_is_refused_once_it_is_too_large(running: Running) -> None:
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    said = raw(running, HEAD + b"transfer-encoding: chunked\r\n\r\n", piece * 17)
    assert said.startswith(b"HTTP/1.1 413 ")


def test_what_is_no_http_is_refused_and_the_server_goes_on(running: Running) -> None:
    assert raw(running, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(running, b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n")[:9] == b"HTTP/1.1 "
    assert running.client.get("/healthz").status_code == 200
