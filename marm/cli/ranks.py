"""`--ranks`: the same command in several processes of this machine, as torchrun would start them; all end when one fails."""

import os
import subprocess
import sys
import time
from typing import Any

import typer
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from marm.cli.parent import with_parent
from marm.errors import SettingError
from marm.ranks import asked_for

_GRACE = 10.0
"""Seconds in which the others may end when one has failed."""
_MISTAKE = 2
"""The exit code of a mistake of the user's, which was told already."""


def start_ranks(ranks: int, words: list[str]) -> None:
    """Where more than one rank is asked for and none was started yet: run a command in each, and end as they do."""
    started = asked_for()
    if ranks == started or (ranks == 1 and started > 1):
        return
    if started > 1:
        raise SettingError(f"--ranks {ranks}: torchrun started {started}: leave --ranks out")
    code = _watch(begin(ranks, words))
    raise typer.Exit(code)


def begin(ranks: int, words: list[str], **options: Any) -> list[subprocess.Popen[bytes]]:
    """A command in so many processes; ``options``: of ``Popen``, for each."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    about = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        # They meet at this process's store; rank 0 does not open one of its own.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo"),
        "WORLD_SIZE": str(ranks),
    }
    _kept.append(store)
    command = [sys.executable, "-m", "marm", *words, "--ranks", str(ranks)]
    environment = {**with_parent(), **about}
    return [subprocess.Popen(command, env={**environment, "RANK": str(rank)}, **options) for rank in range(ranks)]


_kept: list[TCPStore] = []
"""Open as long as this process lives."""


def _watch(running: list[subprocess.Popen[bytes]]) -> int:
    """The exit code of all: 0 when all have done their work, else that of the first that failed."""
    try:
        while True:
            codes = [process.poll() for process in running]
            failed = [(code, rank) for rank, code in enumerate(codes) if code]
            if failed:
                # One that was killed comes first: the others stop because of it.
                return _told(*min(failed))
            if all(code == 0 for code in codes):
                return 0
            time.sleep(0.05)
    finally:
        end(running)


def _told(code: int, rank: int) -> int:
    if code != _MISTAKE:
        typer.echo(f"marm: rank {rank} ended ({code}), so all do; `marm resume` goes on from the last cut", err=True)
    return code if code > 0 else 1


def end(running: list[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, and end those that do not."""
    for process in running:
        process.terminate()
    until = time.monotonic() + _GRACE
    for process in running:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
