"""A server tells events to a topic before it acknowledges them; once they are learned, it shows them no more by itself."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marm.train.follow import follow
from tests.kafka.topics import Cluster, after_training, as_messages, at_once
from tests.server.running import Running
from tests.train.feeding import copy_of, counts, event_ids, events_of


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return copy_of(trained, tmp_path / "run")


@pytest.fixture
def own() -> Iterator[Cluster]:
    """A broker that may die."""
    one = Cluster()
    yield one
    one.end()


def served(begin: int, end: int) -> list[dict[str, Any]]:
    """Events as a client tells them, their clicks not known yet."""
    out = []
    for record in events_of(after_training(0, end)):
        del record["kind"], record["outcomes"]["click"]
        out.append(record)
    return out[begin:]


def wait_until(what: Any) -> None:
    for _ in range(400):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_events_go_to_the_topic_are_learned_from_it_and_then_let_go(cluster: Cluster, run: Path) -> None:
    name, events = cluster.name(), served(0, 6)
    cluster.partitions(name)
    running = Running(run, [f"serve.topic={cluster.url(name)}", "serve.look=0.05"])
    try:
        told = running.post("/v1/events", {"events": events}, 202)
        assert told["accepted"] == 6
        click = {"event_id": "e3", "outcomes": {"click": 1}}
        assert running.post("/v1/events", {"events": [click, events[0]]}, 202)["duplicates"] == 1
        messages = cluster.all(name)
        rows = {row["event_id"]: row for row in (json.loads(m.value()) for m in messages) if row["kind"] == "event"}
        expected = as_messages(after_training(0, 6))
        assert [rows[f"e{n}"] for n in range(6)] == [
            {**{key: value for key, value in row.items() if key != "click"}, "kind": "event"} for row in expected
        ]
        assert {m.key().decode() for m in messages} == {row["user"] for row in expected}
        lanes = {json.loads(m.value())["event_id"]: m.partition() for m in messages}
        (follows,) = [m for m in messages if json.loads(m.value())["kind"] == "outcomes"]
        assert (json.loads(follows.value())["click"], follows.partition()) == (1, lanes["e3"])
        assert len(running.server.tails) == 6
        cut = running.server.served.number
        follow(run, at_once(run, wait=1, otherwise={"click": 0}), cluster.url(name), until_idle=0)
        assert sorted(event_ids(run)) == sorted(rows)
        assert counts(run) == {"events": 6}
        wait_until(lambda: running.server.served.number > cut and not len(running.server.tails))
        running.post("/v1/events", {"events": served(6, 7)}, 202)
        assert len(running.server.tails) == 1
    finally:
        running.stop()
    # Begun again, it shows what is not learned yet, and nothing else.
    running = Running(run, [f"serve.topic={cluster.url(name)}"])
    assert [
        one.row.event_id for user in running.server.tails.users() for one in running.server.tails.of_user(user)
    ] == ["e6"]
    running.stop()


def test_nothing_is_acknowledged_that_the_broker_does_not_have(own: Cluster, run: Path) -> None:
    name = own.name()
    own.partitions(name)
    running = Running(run, [f"serve.topic={own.url(name)}", "serve.topic_wait=1"])
    try:
        running.post("/v1/events", {"events": served(0, 1)}, 202)
        held = (run / "inbox" / "00000001.ndjson").read_bytes()
        own.end()
        fault = running.post("/v1/events", {"events": served(1, 3)}, 503)
        assert (
            "events are not acknowledged" in fault["error"] and "tell them again, with the same ids" in fault["error"]
        )
        assert (run / "inbox" / "00000001.ndjson").read_bytes() == held
        assert len(running.server.tails) == 1
        # Not known as told: whoever tells them again is not answered "duplicate".
        assert "not acknowledged" in running.post("/v1/events", {"events": served(1, 2)}, 503)["error"]
        assert running.post("/v1/events", {"events": served(0, 1)}, 202)["duplicates"] == 1
        assert running.post("/v1/rank", {"user": "u1", "candidates": [1, 2]})["items"]
    finally:
        running.stop()
