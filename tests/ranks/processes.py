"""Functions run by several ranks, each a process of its own, forked from one that has imported everything."""

import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

from torch.distributed import TCPStore

LONGEST = 90.0
"""Seconds after which ranks that hang are killed and the test fails."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["marm.train.run", "tests.ranks.processes"])


def together(ranks: int, work: Callable[..., None], *arguments: Any) -> list[int]:
    """Run ``work(group, *arguments)`` on each rank; exit codes. Ranks that hang are killed: their code is none of their own."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    about = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(ranks)}
    about |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "GLOO_SOCKET_IFNAME": "lo"}
    running = [
        _context.Process(target=_rank, args=({**about, "RANK": str(rank)}, work, arguments)) for rank in range(ranks)
    ]
    for process in running:
        process.start()
    until = time.monotonic() + LONGEST
    try:
        for process in running:
            process.join(max(until - time.monotonic(), 0.0))
        return [process.exitcode if process.exitcode is not None else -100 for process in running]
    finally:
        for process in running:
            process.kill()
            process.join()


def _rank(about: dict[str, str], work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(about)
    from marm.ranks import joined

    with joined() as group:
        work(group, *arguments)
