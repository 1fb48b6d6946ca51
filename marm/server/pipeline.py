"""From a question to an answer: candidates, one pass for all questions that wait, the final order."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Protocol

import numpy as np

from marm.config import Formula, RunConfig
from marm.data.events import Column
from marm.data.seen import LastSeen
from marm.data.stream import EventLog
from marm.engine.batch import Batch
from marm.engine.exposures import Exposures, join, join_column
from marm.engine.live import with_tails
from marm.errors import DataError
from marm.model.features import take
from marm.server.catalogue import Catalogue
from marm.server.popular import Popular
from marm.server.served import Served
from marm.server.tail import Tails
from marm.server.values import Converter
from marm.train.asked import absent
from marm.types import F32, F64, I64, U64


@dataclass(frozen=True)
class Question:
    """A user at a time, and what is asked."""

    user: int
    """Its hash."""
    at: int
    """Microseconds."""
    context: dict[str, Column]
    """One entry each."""
    user_columns: dict[str, Column]
    """Logged user features that the request gave."""
    k: int | None
    candidates: U64 | None = None
    """To rank; None: the stages before find them."""
    names: list[Any] = field(default_factory=list)
    """Candidates as the request has them."""
    exclude: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))


@dataclass(frozen=True)
class Stage:
    """What a stage did: candidates taken and given on, milliseconds."""

    stage: str
    taken: int
    given: int
    ms: float


@dataclass(frozen=True)
class Narrowed:
    """What the stages before ranking made of a question."""

    candidates: U64
    names: list[Any]
    stages: list[Stage]


class Narrow(Protocol):
    """The stages before ranking; called on the thread that scores, so that it may use the cut's engine and memory."""

    def narrow(self, question: Question, served: Served) -> Narrowed:
        """Candidates for ranking."""
        ...


class PopularFirst:
    """Stands in where no retrieval stage was trained."""

    def __init__(self, popular: Popular, catalogue: Catalogue) -> None:
        self._popular, self._catalogue = popular, catalogue

    def narrow(self, question: Question, served: Served) -> Narrowed:
        """The most popular items of late that may be shown."""
        begun = time.perf_counter()
        top = self._popular.top()
        found = top[self._catalogue.available(top, question.at) & ~np.isin(top, question.exclude)]
        stage = Stage("popular", len(top), len(found), _ms(begun))
        return Narrowed(found, self._popular.names(found), [stage])


@dataclass(frozen=True)
class Answer:
    """Places of the candidates shown, best first, and how that came about."""

    names: list[Any]
    score: F64
    tasks: F32
    """(k, T)."""
    cut: int
    stages: list[Stage]
    tail: int
    degraded: str | None
    """``raw``: raw history stood in for memory; ``none``: there was none."""


class Pipeline:
    """Answers questions from one cut at a time."""

    def __init__(
        self, run: RunConfig, log: EventLog, served: Served, tails: Tails, catalogue: Catalogue, first: Narrow
    ):
        self.run, self.served, self.tails, self.catalogue, self.first = run, served, tails, catalogue, first
        self._tasks, self._seen = list(run.tasks), LastSeen(log)
        self._score = Formula(run.serve.score, self._tasks) if run.serve.score else None
        manifest = log.manifest
        self._columns = {
            scope: {
                n: Converter(n, k, manifest.widths.get(f"{scope}.{n}", 1)) for n, k in manifest.columns[scope].items()
            }
            for scope in ("context", "user")
        }
        self._logged = list(manifest.columns["item"])

    def columns(self, given: dict[str, Any]) -> tuple[dict[str, Column], dict[str, Column]]:
        """Context and logged user features of a request. Errors: ``DataError`` for a name that the run does not have."""
        context, user = self._columns["context"], self._columns["user"]
        for name in given:
            if name not in context and name not in user:
                has = ", ".join([*context, *user]) or "none"
                raise DataError(f"context: no {name}: the run has {has}")
        made = {name: convert(given.get(name)) for name, convert in context.items()}
        return made, {name: user[name](value) for name, value in given.items() if name in user}

    def answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """All questions in one pass; candidates of none see each other."""
        served = self.served
        narrowed = [self._narrowed(question, served) for question in questions]
        begun = time.perf_counter()
        tails = [self.tail_of(question, served) for question in questions]
        asked = [at for at, found in enumerate(narrowed) if len(found.candidates)]
        scores = np.zeros((0, len(self._tasks)), np.float32)
        failed: dict[int, str] = {}
        if asked:
            batch, places = self.lay_out(
                [questions[at] for at in asked], [narrowed[at] for at in asked], [tails[at] for at in asked]
            )
            made, failed = served.attend(batch)
            scores = made[places]
        ms = _ms(begun)
        out: list[Answer | Exception] = []
        end = 0
        for question, found, tail in zip(questions, narrowed, tails, strict=True):
            begin, end = end, end + len(found.candidates)
            level = failed.get(question.user) if len(found.candidates) else None
            out.append(self._ordered(question, found, scores[begin:end], ms, len(tail) if tail else 0, level))
        return out

    def tail_of(self, question: Question, served: Served) -> Exposures | None:
        """What the user did that this cut has not in memory, as of the question's time."""
        return self.tails.of(question.user, question.at, served.since, served.learned, served.waiting)

    def lay_out(
        self, questions: list[Question], found: list[Narrowed], tails: list[Exposures | None]
    ) -> tuple[Batch, I64]:
        """One batch of the candidates of all questions, each after its user's live tail, and their places in it."""
        batch = self._batch(questions, found, tails)
        live = [(i, tail) for i, tail in enumerate(tails) if tail is not None]
        if not live:
            return batch, np.arange(len(batch))
        segment = np.repeat([i for i, _ in live], [len(tail) for _, tail in live])
        return with_tails(batch, reduce(join, [tail for _, tail in live]), segment)

    def _narrowed(self, question: Question, served: Served) -> Narrowed:
        if question.candidates is None:
            return self.first.narrow(question, served)
        keep = self.catalogue.available(question.candidates, question.at)
        if keep.all():
            return Narrowed(question.candidates, question.names, [])
        left = np.flatnonzero(keep)
        stage = Stage("available", len(keep), len(left), 0.0)
        return Narrowed(question.candidates[left], [question.names[at] for at in left.tolist()], [stage])

    def _batch(self, questions: list[Question], found: list[Narrowed], tails: list[Exposures | None]) -> Batch:
        counts = np.array([len(one.candidates) for one in found])
        segment = np.repeat(np.arange(len(questions)), counts)
        at = np.array([question.at for question in questions], np.int64)
        item = np.concatenate([one.candidates for one in found])
        columns = self._seen.columns(item)
        self.catalogue.overlay(item, columns)
        users = [self._user(question, tail) for question, tail in zip(questions, tails, strict=True)]
        return Batch(
            users=np.array([question.user for question in questions], np.uint64),
            user_columns={name: _stacked([one[name] for one in users]) for name in self._columns["user"]},
            since=at,
            segment=segment,
            item=item,
            item_columns=columns,
            time=at[segment],
            context={n: take(_stacked([q.context[n] for q in questions]), segment) for n in self._columns["context"]},
            live=np.zeros(len(item), bool),
            known=at[segment],
            outcome=np.zeros(len(item), np.int16),
        )

    def _user(self, question: Question, tail: Exposures | None) -> dict[str, Column]:
        """Logged user features: as given, or as the newest event had them."""
        out: dict[str, Column] = {}
        for name, convert in self._columns["user"].items():
            if name in question.user_columns:
                out[name] = question.user_columns[name]
            elif tail is not None:
                out[name] = take(tail.user_columns[name], np.array([len(tail) - 1]))
            else:
                out[name] = absent(convert.kind, 1, convert.width)
        return out

    def _ordered(
        self, question: Question, found: Narrowed, scores: F32, ms: float, tail: int, level: str | None
    ) -> Answer:
        score = self.score_of(scores)
        order = np.argsort(-score, kind="stable")
        k = len(order) if question.k is None else min(question.k, len(order))
        order = self._diverse(found.candidates, order, k)[:k]
        stages = [*found.stages, Stage("ranking", len(found.candidates), len(order), ms)]
        names = [found.names[at] for at in order.tolist()]
        return Answer(names, score[order], scores[order], self.served.number, stages, tail, level)

    def score_of(self, scores: F32) -> F64:
        """What the final order goes by (k,), of predictions (k, T)."""
        if not self._score or not len(scores):
            return scores[:, 0].astype(np.float64)
        return self._score({name: scores[:, t] for t, name in enumerate(self._tasks)})

    def _diverse(self, items: U64, order: I64, k: int) -> I64:
        """At most so many items of one value of a category among the first k; what has none is never too much."""
        for name, most in self.run.serve.diversity.items():
            value = self._category(name, items[order]).tolist()
            seen: dict[int, int] = {}
            kept: list[int] = []
            for at, one in enumerate(value):
                if one == 0 or seen.get(one, 0) < most:
                    seen[one] = seen.get(one, 0) + 1
                    kept.append(at)
            order = order[kept]
        return order

    def _category(self, name: str, items: U64) -> U64:
        if name in self._logged:
            columns = self._seen.columns(items)
            self.catalogue.overlay(items, columns)
            return columns[:, self._logged.index(name)]
        side = self.catalogue.side
        assert side is not None
        return take(side.columns[name], side.find(items))  # type: ignore[return-value]


def _stacked(columns: list[Column]) -> Column:
    out = columns[0]
    for column in columns[1:]:
        out = join_column(out, column)
    return out


def _ms(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 3)
