"""The store as it is shipped lets one user in, and that user may do what trainer, server and operator need, and no more."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from marm.cli.cluster.nodes import free_port
from marm.train import run as commands
from marm.train.erase import erase, users_named
from tests.debian import program
from tests.deploy.manifests import compose, named, pod_of
from tests.docs.pages import text_of
from tests.server.running import Running
from tests.store.servers import needed, wait_until
from tests.train.logs import log_frame, run_over, write_world

SECRET = "a1b2c3"


class Shipped:
    """`deploy/valkey.sh` on a port of this machine; Redis stands for Valkey."""

    def __init__(self, folder: Path, store_bytes: str = "1gb") -> None:
        bin, data, self.port = folder / "bin", folder / "data", free_port()
        for path in (bin, data):
            path.mkdir(exist_ok=True)
        for part in ("server", "cli"):
            there = bin / f"valkey-{part}"
            if not there.is_symlink():
                there.symlink_to(program("redis-server", f"redis-{part}"))
        given = {"MARM_REDIS_USERNAME": "marm", "MARM_REDIS_PASSWORD": SECRET, "STORE_NAME": "shop"}
        self.environment = os.environ | given | {"TMPDIR": str(folder), "PATH": f"{bin}:{os.environ['PATH']}"}
        self._data = data
        self.start(store_bytes)

    def start(self, store_bytes: str) -> None:
        """Start it with so much memory, and wait until it answers."""
        script = str(Path(__file__).parents[2] / "deploy/valkey.sh")
        words = ["sh", script, "--port", str(self.port), "--bind", "127.0.0.1"]
        environment = self.environment | {"STORE_BYTES": store_bytes}
        self.process = subprocess.Popen(words, cwd=self._data, env=environment, stdout=subprocess.DEVNULL)
        wait_until(self.answers)

    def answers(self) -> bool:
        """Whether the probe of the manifests says so."""
        probe = pod_of(named("StatefulSet", "valkey"))["containers"][0]["readinessProbe"]["exec"]["command"]
        return self.probed(probe)

    def probed(self, words: list[str]) -> bool:
        """Whether a probe is content, its client told the port."""
        told = [word.replace("valkey-cli", f"valkey-cli -p {self.port}") for word in words]
        return subprocess.run(told, env=self.environment, capture_output=True).returncode == 0

    def client(self, **access: str) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0), **access)

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shipped]:
    store = Shipped(tmp_path)
    monkeypatch.setenv("MARM_REDIS_USERNAME", "marm")
    monkeypatch.setenv("MARM_REDIS_PASSWORD", SECRET)
    yield store
    store.end()


def test_who_shows_no_password_gets_nothing_and_the_user_only_the_stores_keys(shipped: Shipped, tmp_path: Path) -> None:
    with shipped.client() as nobody, pytest.raises(redis.AuthenticationError):
        nobody.get("shop:about")
    for access in ({"password": SECRET}, {"username": "marm", "password": "wrong"}):
        with shipped.client(**access) as wrong, pytest.raises(redis.AuthenticationError):
            wrong.ping()
    with shipped.client(username="marm", password=SECRET) as user:
        user.set("shop:x", "1")
        for ask in (
            lambda: user.get("other:x"), lambda: user.config_get("*"), lambda: user.flushall(), lambda: user.keys("*"),
            lambda: user.acl_list(), lambda: user.shutdown(),
        ):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                ask()
        told = user.info("memory")
        assert told["maxmemory_policy"] == "noeviction" and told["maxmemory"] == 2**30
        assert user.info("persistence")["aof_enabled"] == 1
    assert SECRET not in (tmp_path / "users.acl").read_text() and (tmp_path / "users.acl").stat().st_mode & 0o77 == 0


def test_the_user_may_do_what_the_page_asks_for_and_be_probed() -> None:
    (line,) = re.findall(r'^commands="(.+)"$', text_of("deploy/valkey.sh"), re.MULTILINE)
    assert line.split() == [*needed(cluster=False), "+ping"]


def test_the_probe_of_compose_is_content_only_with_the_password(shipped: Shipped) -> None:
    kind, line = compose()["services"]["valkey"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    words = ["sh", "-c", line.replace("$$", "$")]
    assert shipped.probed(words)
    shipped.environment["MARM_REDIS_PASSWORD"] = "wrong"
    assert not shipped.probed(words)


def test_a_run_is_trained_into_it_served_from_it_and_a_user_erased(
    shipped: Shipped, tmp_path: Path, start: Callable[..., Running]
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=150))
    run = run_over(world, memory={"url": f"redis://127.0.0.1:{shipped.port}/shop"}, train={"cut_every": 40})
    commands.train(run, tmp_path / "run", page=False)
    asked = {"user": "u1", "candidates": [1, 2, 3]}
    server = start(tmp_path / "run", "serve.look=0.05")
    before = server.post("/v1/rank", asked)
    assert before["degraded"] is False
    erase(tmp_path / "run", users_named(["u1"]), wait=30)
    wait_until(lambda: server.post("/v1/rank", asked)["items"] != before["items"])
    assert server.post("/v1/rank", asked)["degraded"] is False
    assert list((tmp_path / "data").rglob("*.aof"))
