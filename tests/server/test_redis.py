"""A server whose memory lies in Redis: beside a trainer, and while Redis is frozen, killed and back."""

import time
from collections.abc import Callable, Iterator
from itertools import cycle
from math import isnan
from pathlib import Path
from threading import Event, Semaphore, Thread, current_thread
from typing import Any

import pytest

from marm.server import server as server_module
from marm.store.asof import AsOf
from marm.train import run as commands
from marm.train.cut import cut_numbers
from marm.train.rebuild import rebuild
from marm.types import U64
from tests.server.running import Running
from tests.store import servers
from tests.train.logs import log_frame, run_over, write_world

Start = Callable[..., Running]
RANK = {"user": "u1", "candidates": [1, 2, "3", "never seen"], "at": 1_600_501_000}


@pytest.fixture
def durable() -> Iterator[servers.Server]:
    """A server that has after a kill what it acknowledged before."""
    server = servers.Server("--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.end()


@pytest.fixture
def own() -> Iterator[servers.Server]:
    """A server that a test may freeze."""
    server = servers.Server()
    yield server
    server.end()


def test_a_server_answers_beside_a_trainer_and_degrades_while_redis_is_away(
    durable: servers.Server, tmp_path: Path, start: Start
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=240))
    run = run_over(world, memory={"url": durable.url("beside")}, train={"cut_every": 30})
    gate = Semaphore(10)  # the trainer goes on as the server is asked
    trainer = Thread(target=commands.train, args=(run, tmp_path / "run", lambda _: gate.acquire(timeout=30)))
    trainer.start()
    servers.wait_until(lambda: len(cut_numbers(tmp_path / "run")) > 1)
    server = start(tmp_path / "run", "serve.look=0.05")
    cuts = set()
    while trainer.is_alive():
        gate.release()
        answer = server.post("/v1/rank", RANK)
        assert answer["degraded"] is False
        cuts.add(answer["trace"]["cut"])
    trainer.join()
    assert len(cuts) > 1
    servers.wait_until(lambda: server.post("/v1/rank", RANK)["trace"]["cut"] == cut_numbers(tmp_path / "run")[-1])
    wanted = server.post("/v1/rank", RANK)["items"]
    durable.freeze()
    assert took(server, degraded=True) < 8
    durable.thaw()
    servers.wait_until(lambda: server.post("/v1/rank", RANK)["items"] == wanted)
    durable.kill()
    assert took(server, degraded=True) < 4
    durable.start()
    servers.wait_until(lambda: server.post("/v1/rank", RANK)["items"] == wanted)
    assert took(server, degraded=False) < 4


def test_metrics_say_what_memory_takes_and_that_nobody_knows_while_redis_is_away(
    own: servers.Server, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_MEASURED_EVERY", 0.0)
    commands.train(run_over(write_world(tmp_path / "world"), memory={"url": own.url()}), tmp_path / "run", page=False)
    server = start(tmp_path / "run", "serve.look=0.05")
    servers.wait_until(lambda: gauge(server, "used_bytes") > 0)
    rows = server.server.served.guard.stats().bytes
    assert 0 < rows == gauge(server, "rows_bytes") < gauge(server, "used_bytes")
    with own.client() as client:
        assert gauge(server, "taken_bytes") == pytest.approx(client.info("memory")["used_memory_rss"], rel=0.3)
    assert gauge(server, "fragmentation_ratio") > 0.5
    own.freeze()
    servers.wait_until(lambda: isnan(gauge(server, "used_bytes")))
    assert not server.server.served.guard.broken  # only a look failed, and no reading
    own.thaw()
    servers.wait_until(lambda: gauge(server, "used_bytes") > 0)
    assert server.post("/v1/rank", RANK)["degraded"] is False


def test_a_server_that_keeps_rows_over_cuts_answers_as_one_that_reads_them_all(
    own: servers.Server, tmp_path: Path, start: Start
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=240))
    run = run_over(world, memory={"url": own.url()}, train={"cut_every": 30})
    gate = Semaphore(10)
    trainer = Thread(target=commands.train, args=(run, tmp_path / "run", lambda _: gate.acquire(timeout=30)))
    trainer.start()
    servers.wait_until(lambda: len(cut_numbers(tmp_path / "run")) > 1)
    near, plain = (start(tmp_path / "run", "serve.look=0.05", f"serve.near={size}") for size in (10_000_000, 0))
    same: dict[int, int] = {}
    while trainer.is_alive() or len(same) < 3:
        gate.release()
        for user in range(4):
            one, other = (server.post("/v1/rank", RANK | {"user": f"u{user}"}) for server in (near, plain))
            assert not one["degraded"]
            if one["trace"]["cut"] == other["trace"]["cut"]:  # they swap by themselves
                assert one["items"] == other["items"]
                same[one["trace"]["cut"]] = same.get(one["trace"]["cut"], 0) + 1
    trainer.join()
    kept = near.server._near
    assert 0 < kept.found < kept.asked and kept.bytes > 0
    forget_hot(near)
    found = kept.found
    near.post("/v1/rank", RANK)
    forget_hot(near)
    near.post("/v1/rank", RANK)
    assert kept.found >= found + 2


def test_nobody_waits_for_the_reading_of_another(
    own: servers.Server, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.train(run_over(write_world(tmp_path / "world"), memory={"url": own.url()}), tmp_path / "run", page=False)
    server = start(tmp_path / "run")
    guard = server.server.served.guard
    wanted = server.post("/v1/rank", RANK)["items"]
    asked, answered, by = Event(), Event(), []
    assert isinstance(guard.store, AsOf)
    bring, as_of = guard.bring, guard.store._as_of

    def slow(users: U64) -> None:
        asked.set()
        assert answered.wait(20)
        bring(users)

    def told(*about: Any) -> Any:
        by.append(current_thread().name)
        return as_of(*about)

    monkeypatch.setattr(guard, "bring", slow)
    monkeypatch.setattr(guard.store, "_as_of", told)
    answers: list[dict[str, Any]] = []
    other = Thread(target=lambda: answers.append(server.post("/v1/rank", RANK | {"user": "u2"})))
    other.start()
    assert asked.wait(20)
    assert server.post("/v1/rank", RANK)["items"] == wanted
    answered.set()
    other.join()
    assert answers[0]["degraded"] is False and by == ["read"]
    forget_hot(server)
    assert server.post("/v1/rank", RANK | {"user": "u2"})["items"] == answers[0]["items"] and by == ["read", "score"]


def test_a_memory_rebuilt_on_servers_is_swapped_in(own: servers.Server, tmp_path: Path, start: Start) -> None:
    commands.train(run_over(write_world(tmp_path / "world"), memory={"url": own.url()}), tmp_path / "run", page=False)
    server = start(tmp_path / "run", "serve.look=0.05", "serve.near=10000000")
    before = server.post("/v1/rank", RANK)["items"]
    rebuild(tmp_path / "run", commands.quiet)
    servers.wait_until(lambda: server.server.served.guard.generation == "00000001")
    after = server.post("/v1/rank", RANK)
    assert after["degraded"] is False and after["items"] != before
    assert start(tmp_path / "run").post("/v1/rank", RANK)["items"] == after["items"]


def test_a_user_that_redis_let_go_is_answered_as_one_without_memory(
    own: servers.Server, tmp_path: Path, start: Start
) -> None:
    commands.train(
        run_over(write_world(tmp_path / "world"), memory={"url": own.url("aging")}), tmp_path / "run", page=False
    )
    server = start(tmp_path / "run")
    with_memory = server.post("/v1/rank", RANK)["items"]
    with own.client() as client:
        for key in client.scan_iter(match="aging:{*}"):
            client.pexpire(key, 1)
        servers.wait_until(lambda: not any(client.scan_iter(match="aging:{*}")))
    forget_hot(server)
    answer = server.post("/v1/rank", RANK)
    assert answer["degraded"] is False and answer["items"] != with_memory
    assert not server.server.served.guard.damaged and not server.server.served.guard.broken


def gauge(server: Running, name: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"marm_store_{name} ")))


def test_while_a_cluster_fails_answers_are_whole_or_said_to_be_degraded_and_nobody_waits(
    tmp_path: Path, start: Start, soak: Callable[[int, int], int]
) -> None:
    world, cluster = write_world(tmp_path / "world", log_frame(events=240)), servers.cluster()
    commands.train(run_over(world, memory={"url": cluster.url()}), tmp_path / "run", page=False)
    server = start(tmp_path / "run")
    wanted = {f"u{n}": server.post("/v1/rank", RANK | {"user": f"u{n}"})["items"] for n in range(12)}
    total = 0
    for how in ("frozen", "killed"):
        with cluster.failing(how, soak(2, 30)):
            degraded, slow = asked_for(server, wanted, soak(2, 30))
        assert degraded and slow <= 2  # those who found out
        total += degraded
        servers.wait_until(lambda: server.client.get("/readyz").status_code == 200)
        assert asked_for(server, wanted, 0.2) == (0, 0)
    assert f'marm_degraded_total{{level="raw"}} {float(total)}' in server.client.get("/metrics").text


def asked_for(server: Running, wanted: dict[str, Any], seconds: float) -> tuple[int, int]:
    """Ask about users in turn for so long: how many answers were degraded, and slow; the others are what they shall be."""
    degraded = slow = 0
    until = time.monotonic() + seconds
    for user in cycle(wanted):
        forget_hot(server)
        began = time.monotonic()
        if began > until:
            return degraded, slow
        answer = server.post("/v1/rank", RANK | {"user": user})
        slow += time.monotonic() - began > 0.5
        degraded += answer["degraded"]
        assert answer["degraded"] or answer["items"] == wanted[user]  # never another's rows
    raise AssertionError


def forget_hot(server: Running) -> None:
    """The next answer reads the store."""
    hot = server.server.served.scorer.engine.memory.hot
    hot.release(hot.held())


def took(server: Running, degraded: bool) -> float:
    """Seconds of an answer about a user whose rows are not in the server's own arena."""
    forget_hot(server)
    began = time.monotonic()
    assert server.post("/v1/rank", RANK)["degraded"] is degraded
    return time.monotonic() - began
