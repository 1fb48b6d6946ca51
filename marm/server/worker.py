"""One thread that does all work of a kind: what waits together is handled together, what waits too long is dropped."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

W = TypeVar("W")
R = TypeVar("R")
R2 = TypeVar("R2")


class Busy(Exception):
    """The request waited too long, or too many wait."""


@dataclass
class _Work(Generic[W]):
    """What a request waits for on the event loop; once it is given up, its future is cancelled."""

    work: W
    future: "asyncio.Future[Any]"
    taken: bool = False
    """Its turn has come."""


@dataclass(frozen=True)
class _Call:
    """Something to do between two passes, whoever waits for it."""

    call: Callable[[], Any]
    future: "Future[Any]"

    def make(self) -> None:
        """Do it, unless it was given up."""
        # From here on it cannot be cancelled; a result for one that was would end this thread.
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.call())
        except Exception as error:
            self.future.set_exception(error)


class Worker(Generic[W, R]):
    """``handle`` gets the works that wait, at most ``together`` of them, and returns a result or an exception for each."""

    def __init__(
        self, name: str, handle: Callable[[Sequence[W]], Sequence[R | Exception]], together: int, most: int
    ) -> None:
        self._handle, self._together, self._most = handle, together, most
        self._queue: SimpleQueue[_Work[W] | _Call | None] = SimpleQueue()
        self._ended = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return self._queue.qsize()

    async def do(self, work: W, budget: float) -> R:
        """The result, if its turn comes within ``budget`` seconds. Errors: ``Busy``, and what the work raised."""
        self.check_room()
        job = _Work(work, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        await asyncio.wait([job.future], timeout=budget)
        if not (job.future.done() or job.taken):
            job.future.cancel()
            raise Busy
        result: R = await job.future
        return result

    def check_room(self) -> None:
        """Errors: ``Busy`` where too many wait."""
        if self._queue.qsize() >= self._most:
            raise Busy

    async def do_between(self, call: Callable[[], R2], budget: float) -> R2:
        """The same for something between two passes. Errors: as ``do``."""
        self.check_room()
        future = self._call(call)
        result = asyncio.wrap_future(future)
        await asyncio.wait([result], timeout=budget)
        # Once its turn has come it cannot be cancelled.
        if future.cancel():
            raise Busy
        return await result

    async def between(self, call: Callable[[], R2]) -> R2:
        """Do something on the thread, between two passes, however long it waits."""
        return await asyncio.wrap_future(self._call(call))

    def wait_for(self, call: Callable[[], R2]) -> R2:
        """The same for another thread, which waits. Errors: ``CancelledError`` after ``stop``."""
        return self._call(call).result()

    def _call(self, call: Callable[[], R2]) -> "Future[R2]":
        future: Future[R2] = Future()
        self._queue.put(_Call(call, future))
        if self._ended:
            self._cancel_calls()
        return future

    def _cancel_calls(self) -> None:
        """Those that came after the end; work is given up by who waits for it."""
        with suppress(Empty):
            while True:
                job = self._queue.get_nowait()
                if isinstance(job, _Call):
                    job.future.cancel()

    def stop(self) -> None:
        """Finish what waits, and end."""
        self._queue.put(None)
        self._thread.join()
        self._ended = True
        self._cancel_calls()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            jobs, ends = [job], False
            while len(jobs) < self._together:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    ends = True
                    break
                jobs.append(more)
            self._do(jobs)
            if ends:
                return

    def _do(self, jobs: Sequence[_Work[W] | _Call]) -> None:
        works = [job for job in jobs if isinstance(job, _Work) and not job.future.cancelled()]
        if works:
            for work in works:
                work.taken = True
            try:
                results = self._handle([work.work for work in works])
            except Exception as error:
                results = [error] * len(works)
            _tell(works, results)
        for job in jobs:
            if isinstance(job, _Call):
                job.make()


def _tell(works: Sequence[_Work[Any]], results: Sequence[Any]) -> None:
    """All at once: waking the loop costs more than setting a result."""

    def settle() -> None:
        for work, result in zip(works, results, strict=True):
            if work.future.done():
                continue
            if isinstance(result, Exception):
                work.future.set_exception(result)
            else:
                work.future.set_result(result)

    # The loop may close at any time; then nobody waits.
    with suppress(RuntimeError):
        works[0].future.get_loop().call_soon_threadsafe(settle)
