"""`marm up`: serve a run folder and learn from what it is told, under one command."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from marm.cli.parent import with_parent
from marm.train.follow import Signals
from marm.train.run import run_of

_LONGEST = 60.0
_STEADY = 60.0
"""Seconds after which a child that ends is restarted as if it had never ended before."""
_GRACE = 30.0
_MISTAKE = 2
"""The exit code of a mistake of the user's."""


class Child:
    """A command that is started again when it ends, after a pause that doubles each time up to a minute."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.pause, self.starts = words, 1.0, 0
        self.process: subprocess.Popen[bytes] | None = None
        self._began = self._again = 0.0

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"marm {self.words[0]}"

    def tend(self, now: float) -> int | None:
        """Start it if it is time; the exit code, if it has just ended."""
        if self.process is None:
            if now >= self._again:
                self.process = subprocess.Popen([sys.executable, "-m", "marm", *self.words], env=with_parent())
                self._began, self.starts = now, self.starts + 1
            return None
        code = self.process.poll()
        if code is not None:
            self.pause = 1.0 if now - self._began > _STEADY else min(2 * self.pause, _LONGEST)
            self.process, self._again = None, now + self.pause
        return code

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, until: float) -> None:
        """Wait for its end, and end it if that does not come."""
        if self.process is not None:
            try:
                self.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def up(
    folder: Path,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 8000,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="serve.key=value for the one, follow. or kafka. for the other")
    ] = None,
) -> None:
    """Run `marm serve` and `marm follow` on a folder until told to stop; one that dies is started again.

    On Linux both end when this process does, even if it is killed.
    """
    run_of(folder)
    serving, following = ([word for one in sets or [] if one.startswith("serve.") is mine for word in ("--set", one)]
                          for mine in (True, False))  # fmt: skip
    signals = Signals()
    signals.watch()
    children = [
        Child(["serve", str(folder), "--host", host, "--port", str(port), *serving]),
        Child(["follow", str(folder), "--quiet", *following]),
    ]
    try:
        code = watch(children, signals)
    finally:
        for child in children:
            child.stop()
        until = time.monotonic() + _GRACE
        for child in children:
            child.wait(until)
    raise typer.Exit(code)


def watch(children: list[Child], signals: Signals) -> int:
    """Until a signal comes (0), or a child ends at its first start with a mistake that starting again does not mend."""
    while not signals.asked:
        for child in children:
            code = child.tend(time.monotonic())
            if code == _MISTAKE and child.starts == 1:
                return _MISTAKE
            if code is not None:
                typer.echo(f"marm up: {child.name} ended ({code}): again in {child.pause:.0f} s", err=True)
        time.sleep(0.1)
    return 0
