"""Redis servers of the tests, on this machine only: one alone, and a cluster of six; each started once and asked by many.

The cluster is made and looked at by the code of `marm cluster-demo`. Its servers are others: without a password and a log of
what they hold, on hosts and with options of a test's choosing, frozen and thawed.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from threading import Timer
from typing import Any

import redis

from marm.cli.cluster import nodes as product
from marm.cli.cluster.nodes import free_port
from tests.debian import program

_HOST = "127.0.0.1"
_NODES = 6
_PATIENCE = 60.0
CLUSTERED = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0")
"""Options of a cluster's node, whose bus is 10,000 ports above."""

_names = count()


def binary() -> str:
    """Debian's redis-server; else the test is skipped, saying why."""
    return program("redis-server", "redis-server")


class Server:
    """A server process in a folder of its own, that can be killed and started again."""

    def __init__(self, *options: str, port: int | None = None, host: str = _HOST) -> None:
        self.binary, self.options, self.host, self.port = binary(), options, host, port or free_port()
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
        return f"redis://{self.place}/{name or fresh_name()}"

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
        return redis.Redis(host=self.host, port=self.port, protocol=2)


class Cluster:
    """Three primaries and three replicas."""

    def __init__(self, nodes: Sequence[Server] = ()) -> None:
        """``nodes``: started with ``CLUSTERED``; else six are started."""
        self.nodes = list(nodes) or [Server(*CLUSTERED) for _ in range(_NODES)]
        product.join(self.nodes, lambda holds, _: wait_until(holds))

    def is_whole(self) -> bool:
        """Every node says so, and every primary has a replica that follows it."""
        return product.is_whole(self.nodes)

    def url(self, name: str = "") -> str:
        """URL of a store of this name, or of one that nobody else has."""
        return f"redis://{','.join(node.place for node in self.nodes[:2])}/{name or fresh_name()}"

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


def fresh_name() -> str:
    """A name that no other store of this process has."""
    return f"store.{os.getpid()}.{next(_names)}"


def wait_until(holds: object) -> None:
    """Ask until it is so; an error after a minute."""
    deadline = time.monotonic() + _PATIENCE
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"still waiting for {holds}"
        time.sleep(0.02)
