"""A Redis or Valkey cluster on loopback: three primaries, each with a replica, that go when the demo does."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import redis

from marm.cli import parent
from marm.errors import FolderError

Wait = Callable[[Callable[[], bool], str], object]
"""Waits until something holds; the words say what."""
_HOST, _SLOTS, _BUS = "127.0.0.1", 16384, 10_000
_PRIMARIES, _NODES = 3, 6
_CONFIG = """\
bind {host}
port {port}
dir {folder}
logfile redis.log
save ""
appendonly yes
cluster-enabled yes
cluster-node-timeout 1500
repl-diskless-sync-delay 0
requirepass {password}
masterauth {password}
"""


class Member(Protocol):
    """A server of a cluster: where it is, its process while it runs, and its answer to a command, None where there is none."""

    host: str
    port: int
    process: subprocess.Popen[bytes] | None

    def ask(self, *words: object) -> Any:
        """An answer; None where there is none."""
        ...


M = TypeVar("M", bound=Member)


def join(members: Sequence[Member], wait: Wait) -> None:
    """Make one cluster of servers that were just started: primaries first, then a replica of each."""
    wait(lambda: all(node.ask("PING") for node in members), "Redis to answer")
    first, share = members[0], -(-_SLOTS // _PRIMARIES)
    for number, node in enumerate(members):
        node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        node.ask("CLUSTER MEET", first.host, first.port)
    for number, node in enumerate(members[:_PRIMARIES]):
        node.ask("CLUSTER ADDSLOTSRANGE", number * share, min((number + 1) * share, _SLOTS) - 1)
    wait(lambda: all(_says(node, "cluster_known_nodes", len(members)) for node in members), "Redis nodes to meet")
    for number, node in enumerate(members[_PRIMARIES:]):
        wait(lambda node=node, number=number: _follows(node, members[number]), "a replica")  # type: ignore[misc]
    wait(lambda: is_whole(members), "the Redis cluster")


def is_whole(members: Sequence[Member]) -> bool:
    """Every node says so, and every primary has a replica that follows it."""
    found = primaries(members)
    return (
        all(_says(node, "cluster_state", "ok") for node in members)
        and len(found) == _PRIMARIES
        and all(len(_role(node)[2]) for node in found)
    )


def primaries(members: Sequence[M]) -> list[M]:
    """Nodes that take writes now."""
    return [node for node in members if node.process and _role(node)[0] == b"master"]


def _role(node: Member) -> Any:
    return node.ask("ROLE") or (b"", 0, ())


def _says(node: Member, name: str, value: object) -> bool:
    told = node.ask("CLUSTER INFO")
    return bool(told) and str(told.get(name)) == str(value)


def _follows(node: Member, primary: Member) -> bool:
    return bool(node.ask("CLUSTER REPLICATE", primary.ask("CLUSTER MYID") or b"?"))


def binary() -> str:
    """Where the server lies. Errors: ``FolderError``."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise FolderError(
            "redis-server: not found on this machine: install it (Debian, Ubuntu: `apt install redis-server`; "
            "macOS: `brew install redis`), or valkey-server"
        )
    return found


class Node:
    """A server process and its folder; killed and started again it has what it had."""

    def __init__(self, base: Path, password: str) -> None:
        self.host, self.port = _HOST, free_port()
        self._folder = base / str(self.port)
        self._folder.mkdir(parents=True)
        self._config = _CONFIG.format(host=_HOST, port=self.port, folder=self._folder, password=password)
        self.client: Any = redis.Redis(_HOST, self.port, password=password, socket_timeout=2.0)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{_HOST}:{self.port}"

    def start(self) -> None:
        """Start it; the password goes by a pipe, so that no list of processes shows it."""
        words = [sys.executable, "-I", str(Path(parent.__file__)), binary(), "-"]
        options: dict[str, Any] = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "start_new_session": True,
        }
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, env=parent.with_parent(), **options)
        assert self.process.stdin is not None
        self.process.stdin.write(self._config.encode())
        self.process.stdin.close()

    def kill(self) -> None:
        """End it at once, as a machine does that loses power."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.client.connection_pool.disconnect()

    def ask(self, *words: object) -> Any:
        """An answer; None where there is none."""
        try:
            return self.client.execute_command(*words)
        except (redis.RedisError, OSError):
            return None


class Nodes:
    """The cluster."""

    def __init__(self, folder: Path, password: str) -> None:
        self.folder = folder
        self.nodes = [Node(folder, password) for _ in range(_NODES)]

    @property
    def url(self) -> str:
        """URL of a store in it."""
        return f"redis://{','.join(node.place for node in self.nodes[:_PRIMARIES])}/demo"

    def start(self, wait: Wait) -> None:
        """Start all, and make them one."""
        for node in self.nodes:
            node.start()
        join(self.nodes, wait)

    def is_whole(self) -> bool:
        """Every node says so, and every primary has a replica that follows it."""
        return is_whole(self.nodes)

    def kill_primary(self) -> Node:
        """Kill one that takes writes."""
        struck = primaries(self.nodes)[0]
        struck.kill()
        return struck

    def taken_over(self) -> bool:
        """Whether a replica stands in for the one that was killed."""
        found = primaries(self.nodes)
        return len(found) == _PRIMARIES and all(_says(node, "cluster_state", "ok") for node in found)

    def end(self) -> None:
        """End all and delete what they kept."""
        for node in self.nodes:
            node.kill()
            node.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens at, with room above for the bus of a cluster."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind((_HOST, 0))
            port = int(probe.getsockname()[1])
            if port + _BUS < 2**16 and bus.connect_ex((_HOST, port + _BUS)):
                return port
