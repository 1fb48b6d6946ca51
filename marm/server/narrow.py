"""The stages before ranking, as the cut that answers has them; popularity where it has none."""

import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from marm.config import RetrievalConfig, RunConfig
from marm.engine.engine import Share
from marm.engine.exposures import Exposures
from marm.server.asking import Asker, Question, no_items
from marm.server.catalogue import Catalogue
from marm.server.popular import Popular
from marm.server.served import Served
from marm.stages.fused import fused
from marm.stages.ready import Ready, has_history
from marm.types import F64, I64, U64

_RESERVE = 0.5
"""Share of the time budget that ranking needs: with less left, cascading is left out."""


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
    score: F64 | None = None
    """Retrieval's, where that was asked for."""
    degraded: str | None = None
    """As in an answer."""
    found: I64 | None = None
    """Ranks of the candidates in retrieval's order, 1 first, where that found them."""


class Narrow(Protocol):
    """The stages before ranking; called on the thread that scores, so that it may use the cut's engine and memory."""

    def narrow(self, question: Question, tail: Exposures | None, served: Served) -> Narrowed:
        """Candidates for ranking."""
        ...


class PopularFirst:
    """Stands in where no retrieval stage was trained, or it knows nothing of a user."""

    def __init__(self, popular: Popular, catalogue: Catalogue) -> None:
        self._popular, self._catalogue = popular, catalogue

    def narrow(self, question: Question, tail: Exposures | None, served: Served) -> Narrowed:
        """The most popular items of late that may be shown."""
        begun = time.perf_counter()
        top = self._popular.top()
        keep = self._catalogue.available(top, question.at) & ~np.isin(top, question.exclude)
        if question.allow is not None:
            keep &= np.isin(top, question.allow)
        stage = Stage("popular", len(top), int(keep.sum()), ms_since(begun))
        return Narrowed(top[keep], self._popular.names(top[keep]), [stage])


class StagesFirst:
    """Retrieval from the index, filters, cascading: from the cut that answers, as one with its weights."""

    def __init__(self, run: RunConfig, popular: Popular, catalogue: Catalogue, asker: Asker) -> None:
        self._run, self._catalogue, self._asker = run, catalogue, asker
        self._popular = PopularFirst(popular, catalogue)

    def narrow(self, question: Question, tail: Exposures | None, served: Served) -> Narrowed:
        """Candidates for ranking; a user without any history has the popular ones."""
        ready = served.ready
        if ready is None:
            return self._popular.narrow(question, tail, served)
        begun = time.perf_counter()
        share, query, level = self._look(question, tail, served)
        if ready.retrieval and (question.retrieved or has_history(share, np.array([query]))[0]):
            found = self._retrieve(ready, ready.retrieval.config, question, tail, served, (share, query), begun)
        else:
            found = self._popular.narrow(question, tail, served)
        if question.retrieved:
            return replace(found, degraded=level)
        if ready.cascading:
            found = self._cascade(ready, ready.cascading.config.given, question, (share, query), found)
        return self._with_added(ready, question, found)

    def _look(self, question: Question, tail: Exposures | None, served: Served) -> tuple[Share, int, str | None]:
        """The user as ranking sees it, asked about no item: the share and its query; and whether it could be read."""
        batch, places = self._asker.batch([question], [np.zeros(1, np.uint64)], [tail])
        attended, failed = served.look(batch)
        share = next(share for share in attended.shares if places[0] in share.queries)
        return share, int(np.searchsorted(share.queries, places[0])), failed.get(question.user)

    def _retrieve(
        self,
        ready: Ready,
        config: RetrievalConfig,
        question: Question,
        tail: Exposures | None,
        served: Served,
        looked: tuple[Share, int],
        begun: float,
    ) -> Narrowed:
        count = question.k if question.retrieved and question.k else config.found
        seen = no_items() if config.again else self._seen(question, tail, served)
        away = np.concatenate([seen, question.exclude, self._catalogue.unavailable(question.at)])
        found = ready.find(*looked, question.allow, away, count)
        items = ready.items[found.place]
        stage = Stage("retrieval", len(ready.items), len(items), ms_since(begun))
        return Narrowed(
            items, served.names.of(items), [stage], found.score.astype(np.float64), found=np.arange(1, len(items) + 1)
        )

    def _seen(self, question: Question, tail: Exposures | None, served: Served) -> U64:
        """Items of what is remembered of the user, and of its tail."""
        items = served.items_of(question.user, question.at)
        return items if tail is None else np.concatenate([items, tail.item])

    def _cascade(
        self, ready: Ready, given: int, question: Question, looked: tuple[Share, int], found: Narrowed
    ) -> Narrowed:
        items = found.candidates
        if len(items) <= given:
            return found
        begun = time.perf_counter()
        if self._late(question, begun):
            order, name = np.arange(given), "shortened"
        else:
            score = ready.order(*looked, items, self._asker.item_columns(items))
            score = fused(score, found.found, self._run.serve.retrieval_share)
            order, name = np.argsort(-score, kind="stable")[:given], "cascading"
        stage = Stage(name, len(items), given, ms_since(begun))
        names = [found.names[at] for at in order.tolist()]
        ranks = None if found.found is None else found.found[order]
        return Narrowed(items[order], names, [*found.stages, stage], found=ranks)

    def _late(self, question: Question, now: float) -> bool:
        return now > question.until - _RESERVE * self._run.serve.time_budget

    def _with_added(self, ready: Ready, question: Question, found: Narrowed) -> Narrowed:
        """Items told of that the index does not hold yet: the newest of them go to ranking as they are."""
        known = self._catalogue.told.names
        newest = np.array(list(known)[-self._run.serve.popular :], np.uint64)
        # By look-up: the index may hold millions.
        newest = newest[~ready.holds(newest)]
        if not len(newest):
            return found
        added = newest[~np.isin(newest, np.concatenate([found.candidates, question.exclude]))]
        if question.allow is not None:
            added = added[np.isin(added, question.allow)]
        added = added[self._catalogue.available(added, question.at)]
        names = [*found.names, *(known[key] for key in added.tolist())]
        ranks = found.found
        if ranks is not None:
            ranks = np.concatenate([ranks, np.full(len(added), ranks.max(initial=0) + 1)])
        return Narrowed(np.concatenate([found.candidates, added]), names, found.stages, found=ranks)


def ms_since(begun: float) -> float:
    """Milliseconds."""
    return round((time.perf_counter() - begun) * 1000, 3)
