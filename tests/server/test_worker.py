"""One thread does the work: what has its turn is answered however long it takes, what waits too long is given up."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from threading import Event, Thread

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


def test_a_call_that_was_cancelled_is_passed_over_and_the_thread_lives_on() -> None:
    worker: Worker[int, int] = Worker("double", lambda works: [2 * work for work in works], together=8, most=8)
    begun, end, called = Event(), Event(), list[str]()

    def hold() -> bool:
        begun.set()
        return end.wait(10)

    async def ask() -> int:
        turn = asyncio.create_task(worker.between(hold))
        await asyncio.to_thread(begun.wait, 10)
        given_up = [asyncio.create_task(worker.between(lambda: called.append("never"))), turn]
        await asyncio.sleep(0.02)
        for one in given_up:
            one.cancel()
        found = await asyncio.gather(*given_up, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in found)
        end.set()
        return await worker.do(1, 5.0)

    try:
        assert asyncio.run(ask()) == 2
        assert called == [] and worker.wait_for(lambda: "done") == "done"
    finally:
        worker.stop()


def test_who_calls_after_the_end_is_told_and_does_not_wait_for_ever() -> None:
    worker: Worker[int, int] = Worker("double", lambda works: [2 * work for work in works], together=8, most=8)
    worker.stop()
    found = list[object]()

    def call() -> None:
        try:
            found.append(worker.wait_for(lambda: "done"))
        except CancelledError as error:
            found.append(error)

    caller = Thread(target=call, daemon=True)
    caller.start()
    caller.join(5)
    assert [type(one) for one in found] == [CancelledError]


def test_a_call_of_a_request_waits_no_longer_than_work_does() -> None:
    worker: Worker[int, int] = Worker("double", lambda works: [2 * work for work in works], together=1, most=1)
    begun, end, called = Event(), Event(), list[str]()

    def hold() -> str:
        begun.set()
        end.wait(10)
        return "held"

    async def ask() -> str:
        turn = asyncio.create_task(worker.do_between(hold, 0.05))
        await asyncio.to_thread(begun.wait, 10)
        late = asyncio.create_task(worker.do_between(lambda: called.append("late"), 0.3))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await worker.do_between(lambda: called.append("one too many"), 5.0)
        with pytest.raises(Busy):
            await late
        end.set()
        return await turn

    try:
        assert asyncio.run(ask()) == "held"
        worker.wait_for(lambda: called.append("done"))
        assert called == ["done"]
    finally:
        worker.stop()
