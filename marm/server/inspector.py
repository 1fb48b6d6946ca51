"""Looks into a server: who is there, what is remembered of a user, what a candidate's layers attend to, how it all does."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from marm.data.lookup import Lookup
from marm.data.stream import EventLog
from marm.data.values import hashes_of
from marm.engine.exposures import Exposures
from marm.engine.heed import LIVE, Heeded, Past
from marm.model.outcomes import OutcomeCodes
from marm.nn.views import UNKNOWN
from marm.server.asking import Question
from marm.server.naming import ItemFeatures, ItemNames, UserNames
from marm.server.served import Served
from marm.server.server import Server
from marm.store.base import Facts
from marm.types import F32, I64, Bool

R = TypeVar("R")
_ANEW = 1.0
"""Seconds after which users told of since the cut are looked through anew."""
_LATEST = 253_402_300_799_000_000
"""Last microsecond that a calendar can name, in the year 9999."""


@dataclass(frozen=True)
class Found:
    """What memory and the live tail hold of a user before a time."""

    served: Served
    facts: Facts | None
    """The newest, a ring's worth or more; None where the store could not be read."""
    tail: Exposures | None


class Inspector:
    """Its methods are called from any thread and wait for their turn; nothing is read before it is first asked for."""

    def __init__(self, server: Server) -> None:
        self._server, self.run = server, server.run
        self._codes = OutcomeCodes(self.run.tasks, self.run.model.outcomes)
        self._tasks = {name: self.run.tasks[name] for name in self._codes.names}
        self._lock = Lock()
        """Names are read by one thread at a time."""
        self._begin()

    def _begin(self) -> None:
        """Know nothing yet."""
        self._erased = self._server.erased
        self._log = EventLog(self._server.folder / "events")
        self._items, self._features = ItemNames(self._log), ItemFeatures(self.run)
        self._users = UserNames(self._log, self.run.serve.inspected)
        self._cut, self._heard = -1, -math.inf
        self._held, self._events = Lookup(np.zeros(0, np.uint64)), np.zeros(1, np.int64)

    def _turn(self, call: Callable[[], R]) -> R:
        """Do something on the thread that scores, between two passes. Errors: ``Busy`` where too many wait."""
        self._server.scoring.check_room()
        return self._server.scoring.wait_for(call)

    def users(self, search: str | None, random: int, most: int) -> dict[str, Any]:
        """Users whose id holds ``search``, and the one it names, or ``random`` ones; the message ``UsersAnswer``."""
        with self._lock:
            self._follow()
            self._hear()
            found = self._users.draw(random) if search is None else self._users.find(search, most)
            if search and all(str(user) != search for _, user in found):
                key = int(hashes_of([search])[0])
                found = [(key, search)] * (self._count(key) > 0) + found[: most - 1]
            return {"users": [{"user": user, "events": self._count(key)} for key, user in found]}

    def _follow(self) -> None:
        """See the cut that answers now; after an erasure nothing is remembered from before."""
        if self._server.erased != self._erased:
            self._begin()
        served = self._server.served
        if served.number != self._cut:
            self._log.refresh()
            holding = served.guard.holding()
            self._held, self._events = Lookup(holding.users), np.append(holding.next, 0)
            self._cut = served.number

    def _hear(self) -> None:
        """Hear of users who are not in the log yet."""
        if time.monotonic() > self._heard + _ANEW:
            self._users.told(self._server.tails.users())
            self._heard = time.monotonic()

    def _count(self, key: int) -> int:
        """Events of a user in memory, and since."""
        at = int(self._held.find(np.array([key], np.uint64))[0])
        return int(self._events[at]) + len(self._server.tails.of_user(key))

    def timeline(self, user: Any, at: int | None, most: int) -> dict[str, Any]:
        """A user's history before a time (microseconds), newest first; the message ``TimelineAnswer``."""
        question = self._question(user, at)
        found = self._turn(lambda: self._find(question, most))
        past, known, in_ring = self._past(found)
        shown = slice(max(0, len(past) - most), None)
        seen = self._seen(known, in_ring, question.at)
        past = _told(past, known <= question.at)
        rows = self._rows(_cut(past, shown), found.served, question.user)
        for row, is_seen, is_in_ring in zip(rows, seen[shown].tolist(), in_ring[shown].tolist(), strict=True):
            row["seen"] = is_seen
            row["state"] = row["state"] if is_in_ring else "facts"
        return {
            "user": user,
            "at": self._server.times.written(question.at),
            "cut": found.served.number,
            "steps": found.served.steps,
            "rows": rows[::-1],
            "memory": self._memory(found),
            "degraded": found.facts is None,
        }

    def _question(self, user: Any, at: int | None, item: Any = None, context: dict[str, Any] | None = None) -> Question:
        columns, user_columns = self._server.pipeline.asker.columns(context or {})
        now = self._server.times.now() if at is None else at
        return Question(int(hashes_of([user])[0]), now, columns, user_columns, 1, hashes_of([item]), [item])

    def _find(self, question: Question, most: int) -> Found:
        pipeline = self._server.pipeline
        served = pipeline.served
        shape = served.scorer.engine.memory.shape
        facts = served.guard.glance(question.user, max(shape.capacity, most), question.at)
        return Found(served, facts, pipeline.asker.tail(question, served))

    def _past(self, found: Found) -> tuple[Past, I64, Bool]:
        """Remembered rows, then the tail's; when the outcome of each is known; and which of them the ring has room for."""
        shape = found.served.scorer.engine.memory.shape
        held, position, states_from, ring_from = np.zeros(0, shape.facts), np.zeros(0, np.int64), 0, 0
        if found.facts is not None:
            held = found.facts.facts.view(shape.facts).reshape(-1)
            position = int(found.facts.first[0]) + np.arange(len(held))
            states_from, ring_from = _states_from(found.facts, shape), int(found.facts.next[0]) - shape.capacity
        names = ("item", "time", "outcome", "known")
        tail = [getattr(found.tail, name) if found.tail else np.zeros(0, held[name].dtype) for name in names]
        item, time, outcome, known = (np.concatenate([held[name], new]) for name, new in zip(names, tail, strict=True))
        live = np.ones(len(tail[0]), bool)
        version = np.concatenate([held["version"].astype(np.int64), np.where(live, LIVE, 0)])
        past = Past(item, time, outcome, version, np.concatenate([position >= states_from, live]))
        return past, known, np.concatenate([position >= ring_from, live])

    def _seen(self, known: I64, in_ring: Bool, at: int) -> Bool:
        """Which rows a target attends to: a window of all, or of those whose outcome is known, if a history filter reads it."""
        may = in_ring
        if self.run.data.history is not None:
            may = in_ring & (np.maximum.accumulate(np.where(in_ring, known, 0)) <= at)
        window = self.run.memory.window if self.run.model.layers else 0
        seen: Bool = may & (np.cumsum(may[::-1])[::-1] <= window)
        return seen

    def _memory(self, found: Found) -> dict[str, Any]:
        shape = found.served.scorer.engine.memory.shape
        tail = len(found.tail) if found.tail is not None else 0
        events, states_from, age = 0, 0, np.zeros(0, np.int64)
        if found.facts is not None:
            events = int(found.facts.next[0])
            states_from = int(_states_from(found.facts, shape))
            held = found.facts.facts.view(shape.facts).reshape(-1)
            there = found.facts.first[0] + np.arange(len(held)) >= states_from
            age = found.served.steps - held["version"][there].astype(np.int64)
        rows, facts = events - min(states_from, events), min(events, shape.facts_kept)
        each = shape.state_bytes // max(shape.depths, 1)
        depth = {
            "rows": rows,
            "missing": min(events, shape.capacity) - rows,
            "bytes": rows * each,
            "age_steps": [int(age[-1]), int(np.median(age)), int(age[0])] if len(age) else None,
        }
        return {
            "events": events,
            "facts": facts,
            "capacity": shape.capacity,
            "window": self.run.memory.window,
            "fill": rows / shape.capacity,
            "bytes": rows * shape.state_bytes + facts * shape.facts.itemsize,
            "tail": tail,
            "depths": [{"depth": d + 1, **depth} for d in range(shape.depths)],
        }

    def explain(self, user: Any, item: Any, at: int | None, context: dict[str, Any]) -> dict[str, Any]:
        """What each layer and head attends to when it scores an item; the message ``ExplainAnswer``."""
        question = self._question(user, at, item, context)
        served, heeded, scores, score, level = self._turn(lambda: self._heed(question))
        with self._lock:
            said = self._features.of(hashes_of([item]))
        return {
            "user": user,
            "item": item,
            "features": next(iter(said.values()), {}),
            "at": self._server.times.written(question.at),
            "cut": served.number,
            "score": score,
            "tasks": dict(zip(self.run.tasks, scores.tolist(), strict=True)),
            "rows": self._rows(heeded.past, served, question.user),
            "layers": [self._layer(at, weight) for at, weight in enumerate(heeded.weight)],
            "degraded": level is not None,
        }

    def _heed(self, question: Question) -> tuple[Served, Heeded, F32, float, str | None]:
        pipeline = self._server.pipeline
        served = pipeline.served
        assert question.candidates is not None
        batch, places = pipeline.asker.batch([question], [question.candidates], [pipeline.asker.tail(question, served)])
        heeded, scores, failed = served.heed(batch, int(places[0]))
        return served, heeded, scores, float(pipeline.score_of(scores[None])[0]), failed.get(question.user)

    def _layer(self, at: int, weight_HN: F32) -> dict[str, Any]:
        model = self.run.model
        aside = model.task_layers and at >= model.layers - 1
        layer = model.layers if aside else at + 1
        reads = "embeddings" if layer == 1 or not model.memory_reads else f"states of depth {layer - 1}"
        heads = [{"null": row[-1], "weights": row[:-1]} for row in weight_HN.tolist()]
        task = list(self.run.tasks)[at - model.layers + 1] if aside else None
        return {"layer": layer, "task": task, "reads": reads, "heads": heads}

    def _rows(self, past: Past, served: Served, user: int) -> list[dict[str, Any]]:
        with self._lock:
            self._follow()
            names = self._told_names(user) | self._items.of(past.item)
            features = self._features.of(past.item)
        outcomes = self._outcomes(past)
        columns = zip(
            past.item.tolist(), past.time.tolist(), past.version.tolist(), past.there.tolist(), outcomes, strict=True
        )
        return [
            {
                "item": names.get(item),
                "features": features.get(item, {}),
                "time": self._server.times.written(micros),
                "utc": _utc(micros),
                "outcomes": outcome,
                "state": "live" if version == LIVE else "held" if there else "missing",
                "age_steps": None if version == LIVE else served.steps - version,
            }
            for item, micros, version, there, outcome in columns
        ]

    def _told_names(self, user: int) -> dict[int, int | float | str]:
        told = self._server.tails.of_user(user)
        names = self._items.as_prepared(one.row.item for one in told)
        return {int(one.seen.item[one.at]): name for one, name in zip(told, names, strict=True)}

    def _outcomes(self, past: Past) -> list[dict[str, Any]]:
        """Outcomes of each row by task, as the message ``Row`` has them."""
        says = [_says(task.kind == "binary", task.edges) for task in self._tasks.values()]
        return [{name: say[number] for name, say, number in zip(self._tasks, says, row, strict=True)}
                for row in self._codes.decode(past.outcome).tolist()]  # fmt: skip


def _says(binary: bool, edges: list[float]) -> dict[int, Any]:
    """What each number that ``OutcomeCodes.decode`` gives says of a task."""
    bounds = [None, *edges, None]
    values = [0, 1] if binary else [list(pair) for pair in pairwise(bounds)]
    return {-2: "unknown", -1: None, **dict(enumerate(values))}


def _states_from(facts: Facts, shape: Any) -> int:
    """First position that has a state."""
    return max(int(facts.states_from[0]), int(facts.next[0]) - int(shape.capacity), 0)


def _told(past: Past, known: Bool) -> Past:
    """The same with outcomes that are not known yet as such."""
    return replace(past, outcome=np.where(known, past.outcome, UNKNOWN).astype(np.int16))


def _cut(past: Past, shown: slice) -> Past:
    return Past(past.item[shown], past.time[shown], past.outcome[shown], past.version[shown], past.there[shown])


def _utc(micros: int) -> str:
    moment = datetime.fromtimestamp(min(max(micros, 0), _LATEST) / 1e6, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
