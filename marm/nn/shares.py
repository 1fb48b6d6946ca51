"""Work side by side on this machine's cores: shares that know nothing of each other, their results in order.

Torch and the compiled loops let go of the interpreter while they compute, so two shares of a pass take half the time where one
operation on two threads would mostly wait: the operations here are small.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Run each, the last on this thread; all have ended when this returns or raises."""
    graded = torch.is_grad_enabled()

    def run(work: Callable[[], T]) -> T:
        with torch.set_grad_enabled(graded):
            return work()

    if not works:
        return []
    waiting = [_pool().submit(copy_context().run, run, work) for work in works[:-1]]
    try:
        last = works[-1]()
    finally:
        wait(waiting)
    return [*(future.result() for future in waiting), last]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="marm")
