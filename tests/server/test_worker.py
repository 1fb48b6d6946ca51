"""One thread does the work: what has its turn is answered however long it takes, what waits too long is given up."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from marm.server.worker import Busy, Worker


def test_work_that_has_its_turn_is_answered_and_work_that_waits_too_long_is_not() -> None:
    handled: list[int] = []

    def slow(works: Sequence[int]) -> list[int | Exception]:
        time.sleep(0.3)
        handled.extend(works)
        return [2 * work for work in works]

    async def ask() -> tuple[int, int]:
        first = asyncio.create_task(worker.do(1, 0.05))
        await asyncio.sleep(0.02)
        with pytest.raises(Busy):
            await worker.do(2, 0.05)
        return await first, await worker.do(3, 5.0)

    worker: Worker[int, int] = Worker("slow", slow, together=1, most=8)
    try:
        assert asyncio.run(ask()) == (2, 6)
        assert handled == [1, 3]
    finally:
        worker.stop()
