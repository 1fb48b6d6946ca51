"""Everything that serves one run folder: its newest cut, feedback, items, the threads that work."""

import json
import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread

import numpy as np
import torch

from marm.config import RunConfig
from marm.data.live import LiveLog, Row
from marm.data.place import Position
from marm.data.stream import EventLog
from marm.errors import FolderError, MarmError
from marm.server.asking import Asker, Question
from marm.server.catalogue import Catalogue
from marm.server.feedback import Feedback
from marm.server.guard import AtHand
from marm.server.learning import Learning
from marm.server.messages import EventIn, EventsAnswer
from marm.server.metrics import Metrics
from marm.server.naming import IndexNames
from marm.server.narrow import Narrow, StagesFirst
from marm.server.pipeline import Answer, Pipeline
from marm.server.popular import Popular
from marm.server.served import Served
from marm.server.tail import Reader, Tails, Told
from marm.server.times import Times
from marm.server.worker import Worker
from marm.store import Near, read_through
from marm.train.cut import cut_numbers
from marm.train.erase import erasures
from marm.train.setup import Wrap, as_it_is

_log = logging.getLogger("marm.server")
_MEASURED_EVERY = 15.0
"""Seconds: as often as Prometheus looks."""


class Server:
    """Opened once for a folder; new cuts are swapped in while it answers."""

    def __init__(self, folder: Path, run: RunConfig, first: Narrow | None = None) -> None:
        """``first``: the stages before ranking. Errors: ``MarmError`` where the folder cannot be served."""
        self.folder, self.run, self.metrics = folder, run, Metrics()
        self._at_hand = AtHand(run.serve.facts)
        self._near = Near(run.serve.near)
        self._below: Wrap = partial(read_through, self._near) if run.serve.near else as_it_is
        log = EventLog(folder / "events")
        live = LiveLog(run, folder / "events")
        self.log, self.times = log, Times(log, live)
        self.catalogue = Catalogue(folder, log, self.times)
        self.popular = Popular(run, log, self.catalogue)
        self.tails = Tails(run)
        self._names = IndexNames()
        served = self._open()
        asker = Asker(run, log, self.tails, self.catalogue)
        first = first or StagesFirst(run, self.popular, self.catalogue, asker)
        self.pipeline = Pipeline(run, served, asker, self.catalogue, first)
        self.reader = Reader(run, log, live, lambda: self.catalogue.told)
        self.feedback = Feedback(run, folder, self.reader, self.tails, self.times, self.popular, served)
        self.feedback.served = lambda: self.pipeline.served
        self._learning = Learning(folder, self.metrics)
        self._number_cut(served)
        together = min(run.serve.together, served.room)
        self.scoring: Worker[Question, Answer] = Worker("score", self._answer, together, run.serve.queue)
        self._reading: Worker[int, None] = Worker("read", self._bring, run.serve.together, run.serve.queue)
        self.telling: Worker[list[EventIn], EventsAnswer] = Worker("tell", self.feedback.take, 64, run.serve.queue)
        self._end = Event()
        self.erased = erasures(folder)
        """How many erasures this server knows of."""
        self._watcher = Thread(target=self._watch, name="watch", daemon=True)
        self._watcher.start()

    @property
    def served(self) -> Served:
        """The cut that answers now."""
        return self.pipeline.served

    def _open(self) -> Served:
        failed, told = self.metrics.failures.inc, self.catalogue.told
        return Served(self.folder, self.run, self._at_hand, failed, self._names, told, self._below)

    def _answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        # The number of threads is a thread's own, and the products here are small.
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        self.metrics.together.observe(len(questions))
        answers = self.pipeline.answer(questions)
        for answer in answers:
            if isinstance(answer, Answer) and answer.degraded:
                self.metrics.degraded.labels(answer.degraded).inc()
        return answers

    async def bring(self, user: int, budget: float) -> None:
        """Have a user's rows at hand before it is scored, so that no other waits for servers. Errors: ``Busy``."""
        ahead = self.served.guard.ahead
        if ahead and not ahead.knows(user):
            await self._reading.do(user, budget)

    def _bring(self, users: Sequence[int]) -> list[None]:
        self.served.guard.bring(np.unique(np.array(users, np.uint64)))
        return [None] * len(users)

    def show_items(self) -> None:
        """After items were told; on the thread that scores."""
        self.served.show_items(self.catalogue.told)

    def _watch(self) -> None:
        """Look for a newer cut, open it beside the one that answers, and let it take over between two passes."""
        measured = -_MEASURED_EVERY
        while not self._end.wait(self.run.serve.look):
            if time.monotonic() - measured >= _MEASURED_EVERY:
                self._measure()
                measured = time.monotonic()
            try:
                self._hear()
                self._learning.look()
                numbers, erased = cut_numbers(self.folder), erasures(self.folder)
                if erased != self.erased:
                    self._renew()
                    self.erased = erased
                elif (numbers and numbers[-1] > self.served.number) or self._another_store():
                    self._swap()
                self.metrics.tail.set(len(self.tails))
                self.metrics.damaged.set(self.served.scorer.engine.memory.damaged_users)
            except Exception as error:
                # Whatever it was: the cut that answers stays, and the next look tries again.
                self.metrics.failed_swaps.inc()
                _log.warning("cannot open the newest cut: %s", error if isinstance(error, MarmError) else repr(error))

    def _measure(self) -> None:
        """How much room memory takes; by the thread that looks, so that no request waits for it."""
        guard = self.served.guard
        self.metrics.show_store(guard.stats().bytes, guard.room())
        self.metrics.show_near(self._near)

    def _hear(self) -> None:
        """Take what other servers of the folder were told."""
        if self.feedback.waits():
            self.telling.wait_for(self.feedback.hear)
        if self.telling.wait_for(self.catalogue.hear):
            self.scoring.wait_for(self.show_items)

    def _another_store(self) -> bool:
        """Whether another generation of the store has taken over: one that was rebuilt, say."""
        return self.served.guard.serving() != self.served.guard.generation

    def _renew(self) -> None:
        """After a user was erased: nothing in mind is older than that."""
        self.log.reopen()
        self.telling.wait_for(self.feedback.renew)
        self._swap_to(self._open())
        self._at_hand.clear()
        self._near.clear()

    def _swap(self) -> None:
        new = self._open()
        if new.number == self.served.number and new.guard.generation == self.served.guard.generation:
            new.close()
            return
        self._swap_to(new)

    def _swap_to(self, new: Served) -> None:
        old = self.scoring.wait_for(lambda: self._take_over(new))
        old.close()
        self.tails.prune(new.since, new.learned)
        self.metrics.swaps.inc()
        self._number_cut(new)

    def _number_cut(self, served: Served) -> None:
        self.metrics.cut.set(served.number)
        self.metrics.cut_written.set(served.written)

    def _take_over(self, new: Served) -> Served:
        old, self.pipeline.served = self.pipeline.served, new
        self.show_items()
        return old

    def ready(self) -> str | None:
        """Why it cannot answer as it should; None where it can."""
        if self.served.guard.broken:
            return "the store cannot be read: answers are degraded"
        return None

    def close(self) -> None:
        """Finish what waits, and give back everything."""
        self._end.set()
        self._watcher.join()
        self._reading.stop()
        self.scoring.stop()
        self.telling.stop()
        self.feedback.close()
        self.catalogue.close()
        self.served.close()


def warm_up(server: Server) -> None:
    """Compile and touch what the first requests need: many candidates and one; for a user with a history, nobody, a tail."""
    log, now = server.log, server.times.now()
    items = log.item_hashes(np.arange(min(len(log), 256)))
    context, user_columns = server.pipeline.asker.columns({})
    told = _made_up(server)
    for user in (int(log.read(len(log) - 1, len(log)).user[0]), 1, *(one.user for one in told)) if len(log) else ():
        for shown in (items, items[:1]):
            names = list(range(len(shown)))
            server.pipeline.answer([Question(user, now, context, user_columns, 1, shown, names)])
        server.pipeline.answer([Question(user, now, context, user_columns, 1)])
    server.tails.prune(Position(), {one.row.event_id for one in told})


def _made_up(server: Server) -> list[Told]:
    """An event that nobody told, as the tail of a user that is none, while nobody is answered yet."""
    row = Row("warm up", "warm up", "warm up", server.times.written(server.times.newest), {})
    seen, which, _ = server.reader.read([row])
    told = [Told(Position(), row, seen, at) for at in range(len(which))]
    for one in told:
        server.tails.add(one)
    return told


def check_servable(folder: Path) -> None:
    """Errors: ``FolderError`` for a folder without a cut."""
    if not cut_numbers(folder):
        raise FolderError(f"{folder}: holds no cut: train into it first (`marm train RUN --out {folder}`)")


def log_to_stderr() -> None:
    """One line of JSON each, for the few things that are no request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"level": record.levelname, "message": super().format(record)})
