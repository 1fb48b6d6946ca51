"""A server whose memory lies in Redis: beside a trainer, and while Redis is frozen, killed and back."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Semaphore, Thread

import pytest

from marm.train import run as commands
from marm.train.cut import cut_numbers
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
    assert durable.process is not None
    durable.process.send_signal(signal.SIGSTOP)  # it takes connections and says nothing, as across a broken network
    assert took(server, degraded=True) < 8
    durable.process.send_signal(signal.SIGCONT)
    servers.wait_until(lambda: server.post("/v1/rank", RANK)["items"] == wanted)
    durable.kill()
    assert took(server, degraded=True) < 4
    durable.start()
    servers.wait_until(lambda: server.post("/v1/rank", RANK)["items"] == wanted)
    assert took(server, degraded=False) < 4


def took(server: Running, degraded: bool) -> float:
    """Seconds of an answer about a user whose rows are not in the server's own arena."""
    hot = server.server.served.scorer.engine.memory.hot
    hot.release(hot.held())
    began = time.monotonic()
    assert server.post("/v1/rank", RANK)["degraded"] is degraded
    return time.monotonic() - began
