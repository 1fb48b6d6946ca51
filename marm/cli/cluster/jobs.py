"""Commands of marm as processes whose words go to a file: two ranks that train together, servers, a follower."""

import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marm.cli.cluster.nodes import free_port
from marm.cli.parent import with_parent
from marm.cli.ranks import begin, end
from marm.errors import FolderError

RANKS = 2


class Job:
    """One command, in several processes or one."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.said = name, folder / f"{name}.log"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, words: list[str], ranks: int = 1) -> None:
        """Start it, in a session of its own: Ctrl-C is for who started it."""
        with self.said.open("ab") as file:
            options: dict[str, Any] = {"stdout": file, "stderr": file, "start_new_session": True}
            if ranks > 1:
                self.running = begin(ranks, words, **options)
            else:
                command = [sys.executable, "-m", "marm", *words]
                self.running = [subprocess.Popen(command, env=with_parent(), **options)]

    def done(self) -> bool:
        """Whether all were started and have done their work. Errors: ``FolderError`` where one failed."""
        codes = [process.poll() for process in self.running]
        if any(codes):
            raise FolderError(f"{self.name} ended ({next(filter(None, codes))}): {self.said} says why")
        return bool(codes) and all(code == 0 for code in codes)

    def kill(self, which: int = 0) -> None:
        """End one process at once, as a machine does that loses power."""
        self.running[which].kill()
        self.running[which].wait()


class Server(Job):
    """`marm serve`, always at one port."""

    def __init__(self, name: str, folder: Path, run: Path) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self._words = ["serve", str(run), "--port", str(self.port), "--quiet", "--set", "serve.look=0.2"]

    def serve(self) -> None:
        """Start it."""
        self.start(self._words)

    def answers(self) -> bool:
        """Whether it does. Errors: ``FolderError`` where it has ended."""
        if self.done():
            raise FolderError(f"{self.name} ended: {self.said} says more")
        try:
            # The address is that of the server started here.
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1):  # nosec B310
                return True
        except OSError:
            return False


def end_all(jobs: Sequence[Job]) -> None:
    """Let all their processes end, at once."""
    end([process for job in jobs for process in job.running])
