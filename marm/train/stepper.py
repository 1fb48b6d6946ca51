"""One step of the stream: score what is new with the weights as they are, learn from what is due, remember."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from marm.config import RunConfig
from marm.data.events import Events
from marm.data.negatives import draw
from marm.data.stream import EventLog
from marm.engine.batch import Batch
from marm.engine.batches import Asked, Drawn, ask
from marm.engine.engine import Attended, Engine
from marm.engine.exposures import Exposures, from_events, join
from marm.engine.refresh import Refresher
from marm.memory.memory import MemoryFull
from marm.metrics.spool import Spool
from marm.model.outcomes import OutcomeCodes
from marm.nn.dense import steady_rows
from marm.ranks import own
from marm.stages import Shown, Stages
from marm.store.slots import SlotMap
from marm.train.frozen import SinceCut
from marm.train.learner import Learner
from marm.train.ranked import in_order
from marm.train.steps import first_stop, next_events, sampled, step_size, tie_groups
from marm.train.tally import Tally
from marm.train.waiting import Waiting, beyond_whole, first_of_user, may_enter
from marm.types import F32, I64, U64, Bool

Watch = Callable[[Exposures, Asked, Attended, Bool], None]


class Stepper:
    """Drives the engine along the stream; with a learner it trains, without one it only scores and remembers."""

    def __init__(
        self,
        run: RunConfig,
        log: EventLog,
        engine: Engine,
        learner: Learner | None,
        tally: Tally,
        remembers: bool = True,
        stages: Stages | None = None,
    ) -> None:
        """``remembers`` false, without a learner: each event is scored as a server at this cut would.

        ``stages``: what learns beside ranking.
        """
        self.since = None if remembers else SinceCut(run)
        self.run, self.log, self.engine, self.learner, self.tally = run, log, engine, learner, tally
        self.group = engine.group
        self.stages = stages
        self.codes = OutcomeCodes(run.tasks, run.model.outcomes)
        self.waiting = Waiting(run.train.segment, run.train.segment_after * 1e6)
        self.watch: Watch | None = None
        """Shown every pass that is measured, before anything is learned from it."""
        self.steps = 0
        """Completed ones: the version of the weights."""
        self.refresher = Refresher(engine, run.memory.refresh if run.depths else 0)
        self._admissions = 0
        self._most = run.train.micro_batch
        # Learned in the pass that scores: only where nothing has to be waited for.
        waits = run.data.feedback_delay != 0 or run.train.segment > 0
        self._at_once = learner is None or not waits
        self._new_live = run.train.live if self._at_once else max(run.train.live // 2, 1)
        if self.since and stages and stages.cascading:
            stages.cascading.ask = partial(_ask_since, self.since)
        self._binary = [t.every_row for t in run.tasks.values()]

    def step(self, position: int, end: int, spool: Spool | None, make_room: Callable[[], None]) -> int:
        """Take the next events of the stream; returns where they end. ``make_room`` cuts, when memory is full."""
        # Only where the stream is measured does it grow from nothing; without a learner the size moves no score.
        grows = self.learner is not None and spool is not None
        self._most = step_size(position, self.run.train) if grows else self.run.train.micro_batch
        if self.learner:
            self.engine.version = self.steps
        events = next_events(self.log, position, self._most, self._new_live, end)
        with steady_rows():
            if not self._at_once:
                self._learn_due(int(events.time[0]), make_room)
            new = self._exposures(events)
            seen = self._own(new)
            self.admit(seen.user, make_room)
            if self.since:
                self._score_frozen(seen, spool, self.since)
            elif self._at_once:
                self._score_and_learn(new, seen, spool)
            else:
                self._score_and_wait(new, spool)
        if self.learner:
            self.refresher.refresh(np.unique(seen.user), self.steps + 1)
        # Counted last: a cut that memory forces in the middle of a step is taken up at the step's beginning.
        self.steps += 1
        return position + len(events)

    def finish(self, make_room: Callable[[], None]) -> None:
        """Learn from all that still waits: the stream has ended."""
        self._most = self.run.train.micro_batch
        with steady_rows():
            self._learn_due(None, make_room)

    def load_waiting(self, numbers: I64, remembered: Bool) -> None:
        """Take up exposures that waited when a cut was made."""
        for number, was in zip(numbers.tolist(), remembered.tolist(), strict=True):
            self.waiting.add(self._exposures(self.log.read(number, number + 1)), np.array([was]))

    def _exposures(self, events: Events) -> Exposures:
        return from_events(events, self.codes.encode(events.labels))

    def _own(self, seen: Exposures) -> Exposures:
        """Those of this rank's users: all ranks walk the whole stream, so that its steps are the same on each."""
        return seen if self.group.size == 1 else seen.pick(own(self.group, seen.user))

    def admit(self, users: U64, make_room: Callable[[], None]) -> None:
        """Bring users into the hot arena; ``make_room`` cuts, when it is full."""
        # A number for each pass: users of an earlier pass of the same step may leave the arena again.
        self._admissions += 1
        distinct = np.unique(users)
        full = False
        try:
            self.engine.memory.admit(distinct, self._admissions)
        except MemoryFull:
            full = True
        if self.group.any(full):
            make_room()
        if full:
            self.engine.memory.admit(distinct, self._admissions)

    def _score_and_learn(self, new: Exposures, seen: Exposures, spool: Spool | None) -> None:
        """``new``: of all ranks; ``seen``: of this one."""
        asked = ask(seen, self._drawn(seen))
        scored = None if spool is None else self._averaged(asked)
        with torch.set_grad_enabled(self.learner is not None):
            attended = self.engine.attend(asked.batch)
        self.tally.add(asked, attended, self.steps, True)
        labels = self._labels(seen, asked)
        self._record(spool, seen, asked, scored or attended, labels, np.ones(len(asked.exposure), bool))
        if self.stages:
            shown = Shown(seen, asked, attended, new)
            self.stages.scored(shown, self.steps, spool is not None)
            self.stages.learn(shown, labels)
        if self.learner:
            self._update(seen, asked, attended, labels)
        self._remember(seen, asked, attended, np.arange(len(seen)))

    def _averaged(self, asked: Asked) -> Attended | None:
        """A pass by the weights that score, where they are others than those that learn."""
        if not (self.learner and self.learner.average):
            return None
        with torch.no_grad(), self.learner.scoring():
            return self.engine.attend(asked.batch)

    def _score_frozen(self, seen: Exposures, spool: Spool | None, since: SinceCut) -> None:
        asked, batch, places = since.ask(seen, self._drawn(seen))
        with torch.no_grad():
            attended = self.engine.attend(batch)
        self.tally.add(asked, attended, self.steps, False)
        if self.stages:
            mapped = replace(asked, query_of_exposure=places[asked.query_of_exposure])
            self.stages.scored(Shown(seen, mapped, attended, seen), self.steps, spool is not None)
        attended = replace(attended, logit_QT=attended.logit_QT[places])
        self._record(spool, seen, asked, attended, self._labels(seen, asked), np.ones(len(places), bool))
        since.add(seen)

    def _score_and_wait(self, new: Exposures, spool: Spool | None) -> None:
        """Score with the live tail of each user before its first new event; what overflows the tail is remembered."""
        now = int(new.time[0])
        held, places = self.waiting.held, self.waiting.tail(new.user, now)
        tail = held.pick(places) if held else new.pick(places)
        both = join(tail, new)
        key = np.concatenate([first_of_user(tail.user, new.user), np.arange(len(new))])
        order = np.lexsort((both.number, np.arange(len(both)) >= len(tail), key))
        both = both.pick(order)
        is_new = order >= len(tail)
        early = may_enter(both, now)
        early[early] = beyond_whole(both.user[early], both.time[early], self.run.train.live - self._new_live)
        mine = own(self.group, both.user)
        self._score_waiting(new, both.pick(mine), is_new[mine], early[mine], spool)
        self.waiting.remembered[places[order[early & ~is_new]]] = True
        self.waiting.add(new, early[np.flatnonzero(is_new)])

    def _score_waiting(self, new: Exposures, seen: Exposures, is_new: Bool, early: Bool, spool: Spool | None) -> None:
        asked = ask(seen, self._drawn(seen, is_new))
        with torch.no_grad(), self.learner.scoring() if self.learner else nullcontext():
            attended = self.engine.attend(asked.batch)
        self.tally.add(asked, attended, self.steps, False)
        self._record(spool, seen, asked, attended, self._labels(seen, asked), is_new[asked.exposure])
        if self.stages:
            self.stages.scored(Shown(seen, asked, attended, new), self.steps, spool is not None)
        self._remember(seen, asked, attended, np.flatnonzero(early))

    def _learn_due(self, now: int | None, make_room: Callable[[], None]) -> None:
        while True:
            places = self.waiting.due(now)
            if not len(places) or self.waiting.held is None or self.learner is None:
                return
            due = self.waiting.held.pick(places)
            user = SlotMap(len(due)).insert(due.user)
            places = places[: first_stop(user, due.time, due.history, self._most, self.run.train.live)]
            self._learn(places, make_room)

    def _learn(self, places: I64, make_room: Callable[[], None]) -> None:
        assert self.waiting.held is not None and self.learner is not None
        due = self.waiting.held.pick(places)
        seen, mine = self._own(due), places[own(self.group, due.user)]
        self.admit(seen.user, make_room)
        asked = ask(seen, self._drawn(seen))
        attended = self.engine.attend(asked.batch)
        self.tally.add(asked, attended, self.steps, True)
        labels = self._labels(seen, asked)
        if self.stages:
            self.stages.learn(Shown(seen, asked, attended, due), labels)
        self._update(seen, asked, attended, labels)
        self._remember(seen, asked, attended, np.flatnonzero(~self.waiting.remembered[mine]))
        self.waiting.release(places)

    def _update(self, seen: Exposures, asked: Asked, attended: Attended, labels: F32) -> None:
        """Learn from the events that ``train.sample`` draws."""
        assert self.learner is not None
        if self.run.train.sample < 1:
            drawn = sampled(seen.number[asked.exposure], self.run.train.seed, self.run.train.sample)
            labels = np.where(drawn[:, None], labels, np.float32(np.nan))
        self.learner.learn(attended, torch.from_numpy(labels))

    def _remember(self, seen: Exposures, asked: Asked, attended: Attended, which: I64) -> None:
        query = torch.from_numpy(asked.query_of_exposure[which])
        states = attended.state_QKD[query.to(attended.state_QKD.device)]
        keys = self.engine.keys(attended)[asked.query_of_exposure[which]]
        self.engine.remember(seen.pick(which), states, self.steps, keys)

    def _drawn(self, seen: Exposures, which: Bool | None = None) -> Drawn:
        """Negatives of the exposures, the same in whatever pass they are drawn."""
        per_event = self.run.negatives.per_event
        if not per_event:
            return Drawn.none(seen.item_columns.shape[1])
        begin, end = self._ties(seen)
        config = self.run.negatives
        numbers = draw(seen.number, begin, end, per_event, config.recent, self.run.train.seed, self.log.item_hashes)
        if which is not None:
            numbers[~which] = -1
        exposure = np.repeat(np.arange(len(seen)), per_event)
        number = numbers.reshape(-1)
        exposure, number = exposure[number >= 0], number[number >= 0]
        return Drawn(exposure, number, self.log.item_hashes(number), self.log.item_columns(number))

    def _ties(self, seen: Exposures) -> tuple[I64, I64]:
        """Stream numbers of each exposure's tie group; the groups of a pass are whole."""
        order = np.argsort(seen.number, kind="stable")
        begin, end = tie_groups(seen.user[order], seen.time[order])
        first, last = np.empty_like(begin), np.empty_like(end)
        first[order], last[order] = seen.number[order][begin], seen.number[order][end - 1] + 1
        return first, last

    def _labels(self, seen: Exposures, asked: Asked) -> F32:
        """Labels of the queries (Q, T): drawn items are negative in tasks where every row is positive, else unknown."""
        labels = seen.labels[asked.exposure]
        drawn = asked.drawn_from >= 0
        labels[drawn] = np.where(self._binary, 0.0, np.nan).astype(np.float32)
        return labels

    def _record(
        self, spool: Spool | None, seen: Exposures, asked: Asked, attended: Attended, labels: F32, which: Bool
    ) -> None:
        if spool is None:
            return
        if self.watch:
            self.watch(seen, asked, attended, which)
        scores = self.engine.model.predict(attended.logit_QT.float()).cpu().numpy()
        number = seen.number[asked.exposure]
        item = np.where(asked.drawn_from >= 0, asked.drawn_from, number)
        drawn = asked.drawn_from >= 0
        columns: list[Any] = [number, seen.user[asked.exposure], item, drawn, scores, labels]
        scored = in_order(self.group, [column[which] for column in columns])
        if self.group.rank == 0:
            spool.append(*scored)


def _ask_since(since: SinceCut, seen: Exposures, drawn: Drawn) -> tuple[Batch, I64]:
    """Exposures with their tails since a cut; the batch, and the queries that the drawn items are."""
    asked, batch, places = since.ask(seen, drawn)
    return batch, places[asked.query_of_drawn]
