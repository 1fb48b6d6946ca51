"""From a question to an answer: candidates, one pass for all questions that wait, the final order."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marm.config import RunConfig, order_by
from marm.engine.exposures import Exposures
from marm.model.features import take
from marm.server.asking import Asker, Question
from marm.server.catalogue import Catalogue
from marm.server.narrow import Narrow, Narrowed, Stage, ms_since
from marm.server.served import Served
from marm.stages.fused import fused
from marm.types import F32, F64, I64, U64


@dataclass(frozen=True)
class Answer:
    """Places of the candidates shown, best first, and how that came about."""

    names: list[Any]
    score: F64
    tasks: F32 | None
    """(k, T); None where ranking was not asked."""
    cut: int
    stages: list[Stage]
    tail: int
    degraded: str | None
    """``raw``: raw history stood in for memory; ``none``: there was none."""


class Pipeline:
    """Answers questions from one cut at a time."""

    def __init__(self, run: RunConfig, served: Served, asker: Asker, catalogue: Catalogue, first: Narrow) -> None:
        self.run, self.served, self.catalogue, self.first = run, served, catalogue, first
        self._tasks = list(run.tasks)
        self.score_of = order_by(run.serve.score, self._tasks)
        self.asker = asker

    def answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """All questions in one pass; candidates of none see each other."""
        served = self.served
        tails = [self.asker.tail(question, served) for question in questions]
        narrowed = [self._narrowed(*pair, served) for pair in zip(questions, tails, strict=True)]
        begun = time.perf_counter()
        pairs = zip(questions, narrowed, strict=True)
        asked = [at for at, (q, found) in enumerate(pairs) if len(found.candidates) and not q.retrieved]
        scores = np.zeros((0, len(self._tasks)), np.float32)
        failed: dict[int, str] = {}
        if asked:
            batch, places = self.asker.batch(
                [questions[at] for at in asked], [narrowed[at].candidates for at in asked], [tails[at] for at in asked]
            )
            made, failed = served.attend(batch)
            scores = made[places]
        ms = ms_since(begun)
        out: list[Answer | Exception] = []
        end = 0
        for question, found, tail in zip(questions, narrowed, tails, strict=True):
            length = len(tail) if tail else 0
            if question.retrieved:
                out.append(self._as_found(found, length))
                continue
            begin, end = end, end + len(found.candidates)
            level = failed.get(question.user) if len(found.candidates) else None
            out.append(self._ordered(question, found, scores[begin:end], ms, length, level))
        return out

    def _as_found(self, found: Narrowed, tail: int) -> Answer:
        """Retrieval's own answer."""
        assert found.score is not None
        return Answer(found.names, found.score, None, self.served.number, found.stages, tail, found.degraded)

    def _narrowed(self, question: Question, tail: Exposures | None, served: Served) -> Narrowed:
        if question.candidates is None:
            return self.first.narrow(question, tail, served)
        keep = self.catalogue.available(question.candidates, question.at)
        if keep.all():
            return Narrowed(question.candidates, question.names, [])
        left = np.flatnonzero(keep)
        stage = Stage("available", len(keep), len(left), 0.0)
        return Narrowed(question.candidates[left], [question.names[at] for at in left.tolist()], [stage])

    def _ordered(
        self, question: Question, found: Narrowed, scores: F32, ms: float, tail: int, level: str | None
    ) -> Answer:
        score = fused(self.score_of(scores), found.found, self.run.serve.retrieval_share)
        order = np.argsort(-score, kind="stable")
        k = len(order) if question.k is None else min(question.k, len(order))
        order = self._diverse(found.candidates, order, k)[:k]
        stages = [*found.stages, Stage("ranking", len(found.candidates), len(order), ms)]
        names = [found.names[at] for at in order.tolist()]
        return Answer(names, score[order], scores[order], self.served.number, stages, tail, level)

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
        if name in self.asker.logged:
            return self.asker.item_columns(items)[:, self.asker.logged.index(name)]
        side = self.catalogue.side
        assert side is not None
        return take(side.columns[name], side.find(items))  # type: ignore[return-value]
