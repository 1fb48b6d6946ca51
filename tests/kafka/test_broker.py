"""A broker that falls silent, loses all it has, wants TLS or lets nobody in: what is learned stays true, and why is said."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marm.data import broker
from marm.errors import BrokerError
from marm.train.follow import follow
from tests.kafka.brokers import ByTls, Tansu
from tests.kafka.test_kill import start
from tests.kafka.test_serving import served
from tests.kafka.topics import after_training, as_messages, at_once, by_user
from tests.server.certificates import authority, signed
from tests.server.running import Running
from tests.train.feeding import copy_of, counts, event_ids
from tests.train.test_kill import wait_for_change


@pytest.fixture
def tansu(tmp_path: Path) -> Iterator[Tansu]:
    """A broker of a test's own."""
    (tmp_path / "broker").mkdir()
    one = Tansu(tmp_path / "broker")
    yield one
    one.kill()


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return copy_of(trained, tmp_path / "run")


def test_a_follower_waits_for_a_broker_that_is_silent_and_misses_nothing(tansu: Tansu, run: Path) -> None:
    cluster, rows = tansu.cluster(), as_messages(after_training(0, 120))
    name = cluster.name()
    cluster.partitions(name)
    by_user(cluster, name, rows[:60])
    child = start(run, cluster.url(name), until_idle=4)
    wait_for_change(run / "predictions.spool", child)
    tansu.freeze()
    time.sleep(2)
    assert child.poll() is None
    tansu.thaw()
    by_user(cluster, name, rows[60:])
    said, errors = child.communicate()
    assert child.returncode == 0, errors.decode()
    assert b'"lag": 0' in said
    assert sorted(event_ids(run)) == sorted(row["event_id"] for row in rows)
    assert counts(run) == {"events": len(rows)}


def test_events_told_while_it_is_silent_are_refused_and_learned_once_when_told_again(tansu: Tansu, run: Path) -> None:
    cluster = tansu.cluster()
    name = cluster.name()
    cluster.partitions(name)
    running = Running(run, [f"serve.topic={cluster.url(name)}", "serve.topic_wait=1"])
    try:
        running.post("/v1/events", {"events": served(0, 3)}, 202)
        tansu.freeze()
        assert "not acknowledged" in running.post("/v1/events", {"events": served(3, 6)}, 503)["error"]
        tansu.thaw()
        until = time.monotonic() + 20
        while running.client.post("/v1/events", json={"events": served(3, 6)}).status_code != 202:
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        running.stop()
    follow(run, at_once(run, otherwise={"click": 0}), cluster.url(name), until_idle=0)
    assert sorted(event_ids(run)) == [f"e{n}" for n in range(6)]
    assert counts(run)["events"] == 6


def test_a_broker_that_lost_what_was_read_is_told_from_one_with_nothing_new(tansu: Tansu, run: Path) -> None:
    cluster, rows = tansu.cluster(), as_messages(after_training(0, 20))
    name = cluster.name()
    by_user(cluster, name, rows)
    follow(run, at_once(run), cluster.url(name), until_idle=0)
    tansu.kill()
    tansu.start()
    by_user(tansu.cluster(), name, rows[:3])
    with pytest.raises(BrokerError, match=r"read up to \d+: it was made anew; train into a new folder"):
        follow(run, at_once(run), cluster.url(name), until_idle=0)
    assert counts(run) == {"events": 20}


def test_by_tls_it_is_read_if_the_certificate_is_known_and_else_said_why(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = authority(tmp_path)
    with ByTls(*signed(tmp_path)) as front:
        tansu = Tansu(tmp_path, seen_at=front.port)
        front.stand_before(tansu.port)
        rows = as_messages(after_training(0, 20))
        url = f"kafkas://127.0.0.1:{front.port}/exposures"
        monkeypatch.setattr(broker, "ANSWER_S", 2.0)
        with pytest.raises(BrokerError, match="certificate verify failed"):
            follow(run, at_once(run), url, until_idle=0)
        monkeypatch.setenv("MARM_KAFKA_CA", str(known))
        running = Running(run, [f"serve.topic={url}"])
        running.post("/v1/events", {"events": served(0, 20)}, 202)
        running.stop()
        follow(run, at_once(run, otherwise={"click": 0}), url, until_idle=0)
        assert sorted(event_ids(run)) == sorted(row["event_id"] for row in rows)
        tansu.kill()


def test_whom_it_does_not_let_in_is_told_so(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tansu = Tansu(tmp_path, "--authentication")
    monkeypatch.setattr(broker, "ANSWER_S", 1.0)
    monkeypatch.setenv("MARM_KAFKA_USERNAME", "me")
    monkeypatch.setenv("MARM_KAFKA_PASSWORD", "a secret")
    with pytest.raises(BrokerError, match=r"authentication failed.*lets this user in") as found:
        follow(run, at_once(run), f"kafka://{tansu.place}/exposures", until_idle=0)
    assert "a secret" not in str(found.value)
    running = Running(run, [f"serve.topic=kafka://{tansu.place}/exposures", "serve.topic_wait=1"])
    assert "authentication failed" in running.post("/v1/events", {"events": served(0, 1)}, 503)["error"]
    running.stop()
    tansu.kill()
