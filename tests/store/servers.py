"""Redis servers of the tests, on this machine only: one alone, and a cluster of six; each started once and asked by many.

The cluster is made and looked at by the code of `marm cluster-demo`. Its servers are others: without a password, or by
TLS and with access lists, without a log of what they hold, on hosts and with options of a test's choosing, frozen and thawed.
"""

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import redis

from marm.cli.cluster import nodes as product
from marm.cli.cluster.nodes import free_port
from tests.debian import program
from tests.docs.pages import text_of
from tests.server.certificates import authority, signed

_HOST = "127.0.0.1"
_NODES = 6
_PATIENCE = 60.0
CLUSTERED = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0")
"""Options of a cluster's node, whose bus is 10,000 ports above."""

_names = count()


def binary() -> str:
    """Debian's redis-server; else the test is skipped, saying why."""
    return program("redis-server", "redis-server")


@dataclass(frozen=True)
class Access:
    """TLS by an authority of a test's own, who looks after servers, and a user who may do what docs/cluster.md asks for."""

    folder: Path
    admin: str = "a1"
    secret: str = "b2"

    @classmethod
    def made(cls) -> "Access":
        """With certificates of its own, that go when the tests do."""
        folder = Path(tempfile.mkdtemp(prefix="marm-tls-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        authority(folder)
        signed(folder)
        return cls(folder)

    def options(self, port: int) -> list[str]:
        """Of a server, which is reached by TLS alone, by its like too."""
        files = [f"--tls-{name}-file" for name in ("ca-cert", "cert", "key")]
        names = ["ca.pem", "server.crt", "server.key"]
        tls = [word for file, name in zip(files, names, strict=True) for word in (file, str(self.folder / name))]
        tls += ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
        tls += ["--tls-replication", "yes", "--tls-cluster", "yes"]
        users = ["--user", "default", "off", "--user", "admin", "on", f">{self.admin}", "~*", "&*", "+@all"]
        users += ["--user", "marm", "on", f">{self.secret}", "~store.*", *needed()]
        return [*tls, *users, "--masteruser", "admin", "--masterauth", self.admin]

    @property
    def environment(self) -> dict[str, str]:
        """What a trainer or server of marm is told."""
        user = {"MARM_REDIS_USERNAME": "marm", "MARM_REDIS_PASSWORD": self.secret}
        return user | {"SSL_CERT_FILE": str(self.folder / "ca.pem")}

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Be told so."""
        for name, value in self.environment.items():
            patch.setenv(name, value)

    @property
    def by_admin(self) -> dict[str, Any]:
        """How a client of redis-py is made."""
        who = {"username": "admin", "password": self.admin}
        return who | {"ssl": True, "ssl_ca_certs": str(self.folder / "ca.pem")}


def needed(cluster: bool = True) -> list[str]:
    """What docs/cluster.md says that a store's user must be let do, as an access list has it."""
    page = " ".join(text_of("docs/cluster.md").split())
    said = re.search(r"on keys that begin with the name: `(.+?)`; in a cluster also `(.+?)`", page)
    assert said
    return said[1].split() + said[2].split() * cluster


class Server:
    """A server process in a folder of its own, that can be killed and started again."""

    def __init__(self, *options: str, port: int | None = None, host: str = _HOST, access: Access | None = None) -> None:
        self.binary, self.host, self.port, self.access = binary(), host, port or free_port(), access
        self.options = [*options, *(access.options(self.port) if access else ())]
        self.folder = tempfile.mkdtemp(prefix="marm-redis-")
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.end)
        self.start()

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    def url(self, name: str = "") -> str:
        """URL of a store of this name, or of one that nobody else has."""
        return f"{'rediss' if self.access else 'redis'}://{self.place}/{name or fresh_name()}"

    def start(self) -> None:
        """Start it, and wait until it answers or has ended."""
        own = ("--port", str(self.port)) if "--tls-port" not in self.options else ()
        words = [self.binary, *own, "--bind", self.host, "--save", "", "--dir", self.folder, *self.options]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def kill(self) -> None:
        """End it at once, as a machine does that loses power."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Let it take connections and say nothing, as across a broken network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        """End it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *words: object) -> Any:
        """An answer; None where there is none."""
        try:
            with self.client() as client:
                return client.execute_command(*words)  # type: ignore[no-untyped-call]
        except (redis.RedisError, OSError):
            return None

    def client(self) -> redis.Redis:
        """A client of redis-py."""
        return redis.Redis(host=self.host, port=self.port, protocol=2, **(self.access.by_admin if self.access else {}))


class Cluster:
    """Three primaries and three replicas."""

    def __init__(self, nodes: Sequence[Server] = ()) -> None:
        """``nodes``: started with ``CLUSTERED``; else six are started."""
        self.nodes = list(nodes) or [Server(*CLUSTERED) for _ in range(_NODES)]
        product.join(self.nodes, lambda holds, _: wait_until(holds))

    @property
    def access(self) -> Access | None:
        """How its nodes are reached, if not by everybody."""
        return self.nodes[0].access

    def is_whole(self) -> bool:
        """Every node says so, and every primary has a replica that follows it."""
        return product.is_whole(self.nodes)

    def url(self, name: str = "") -> str:
        """URL of a store of this name, or of one that nobody else has."""
        kind = "rediss" if self.access else "redis"
        return f"{kind}://{','.join(node.place for node in self.nodes[:2])}/{name or fresh_name()}"

    @contextmanager
    def failing(self, how: str, seconds: float) -> Iterator[None]:
        """For so long, from now on: a primary is ``killed`` or all nodes are ``frozen``; afterwards the cluster is whole."""
        struck = self.primaries()[:1] if how == "killed" else self.nodes
        for node in struck:
            (Server.kill if how == "killed" else Server.freeze)(node)
        mending = Timer(seconds, self._back if how == "killed" else self._thaw, struck)
        mending.start()
        try:
            yield
        finally:
            mending.join()
            wait_until(self.is_whole)

    def _thaw(self, *nodes: Server) -> None:
        for node in nodes:
            node.thaw()

    def _back(self, node: Server) -> None:
        """Not before another one was promoted: it keeps nothing, and would empty its replica."""
        wait_until(lambda: len(self.primaries()) == _NODES // 2)
        node.start()

    def primaries(self) -> list[Server]:
        """Nodes that take writes now."""
        return product.primaries(self.nodes)

    @contextmanager
    def moving(self, slot: int) -> Iterator[None]:
        """A slot is on its way to another primary, which has its keys: who asks the one before is told ASK, and MOVED after."""
        named = {node.ask("CLUSTER MYID").decode(): node for node in self.primaries()}
        from_port = next(primary[1] for low, high, primary, *_ in self.nodes[0].client().execute_command("CLUSTER SLOTS")
                         if low <= slot <= high)  # fmt: skip
        origin = next(name for name, node in named.items() if node.port == from_port)
        target = next(name for name in named if name != origin)
        told = {name: node.client().execute_command for name, node in named.items()}
        told[target]("CLUSTER SETSLOT", slot, "IMPORTING", origin)
        told[origin]("CLUSTER SETSLOT", slot, "MIGRATING", target)
        by = ("AUTH2", "admin", self.access.admin) if self.access else ()
        for key in told[origin]("CLUSTER GETKEYSINSLOT", slot, 1000):  # of other stores too
            told[origin]("MIGRATE", named[target].host, named[target].port, key, 0, 5000, *by)
        yield
        for name in (target, origin, *named):
            told[name]("CLUSTER SETSLOT", slot, "NODE", target)

    def end(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.end()


@cache
def single() -> Server:
    """The server alone."""
    return Server("--enable-debug-command", "yes")


@cache
def cluster() -> Cluster:
    """The cluster."""
    return Cluster()


@cache
def secured() -> Cluster:
    """Another cluster, by TLS, that lets a store's user do no more than it must."""
    access = Access.made()
    return Cluster([Server(*CLUSTERED, access=access) for _ in range(_NODES)])


def enter_secured(patch: pytest.MonkeyPatch) -> Cluster:
    """The same, and this process is told how it is reached."""
    made = secured()
    assert made.access
    made.access.enter(patch)
    return made


def fresh_name() -> str:
    """A name that no other store of this process has."""
    return f"store.{os.getpid()}.{next(_names)}"


def wait_until(holds: object) -> None:
    """Ask until it is so; an error after a minute."""
    deadline = time.monotonic() + _PATIENCE
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"still waiting for {holds}"
        time.sleep(0.02)
