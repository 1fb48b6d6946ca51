"""Questions, and the batches that they are asked with: by ranking, and by the stages before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.data.events import Column, absent, join_columns, take
from marm.data.seen import LastSeen
from marm.data.stream import EventLog
from marm.data.values import Converter
from marm.engine.batch import Batch
from marm.engine.exposures import Exposures, join
from marm.engine.live import with_tails
from marm.errors import DataError
from marm.server.catalogue import Catalogue
from marm.server.served import Served
from marm.server.tail import Tails
from marm.types import I64, U64


def no_items() -> U64:
    """None."""
    return np.zeros(0, np.uint64)


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
    exclude: U64 = field(default_factory=no_items)
    allow: U64 | None = None
    """Only these, where the stages before find the candidates; None: any."""
    until: float = float("inf")
    """When the answer is due, by ``time.perf_counter``: stages that can be left out are, once that is near."""
    retrieved: bool = False
    """Retrieval's own answer is asked for: no stage after it."""


class Asker:
    """Puts questions and live tails into batches."""

    def __init__(self, run: RunConfig, log: EventLog, tails: Tails, catalogue: Catalogue) -> None:
        self.tails, self._catalogue, self._seen = tails, catalogue, LastSeen(log)
        manifest = log.manifest
        self._columns = {
            scope: {name: Converter(name, manifest.how(scope, name)) for name in manifest.columns[scope]}
            for scope in ("context", "user")
        }
        self.logged = list(manifest.columns["item"])

    def columns(self, given: dict[str, Any]) -> tuple[dict[str, Column], dict[str, Column]]:
        """Context and logged user features of a request. Errors: ``DataError`` for a name that the run does not have."""
        context, user = self._columns["context"], self._columns["user"]
        for name in given:
            if name not in context and name not in user:
                has = ", ".join([*context, *user]) or "none"
                raise DataError(f"context: no {name}: the run has {has}")
        made = {name: convert(given.get(name)) for name, convert in context.items()}
        return made, {name: user[name](value) for name, value in given.items() if name in user}

    def tail(self, question: Question, served: Served) -> Exposures | None:
        """What the user did since the cut, and before the question."""
        return self.tails.of(question.user, question.at, served.since, served.learned, served.waiting)

    def item_columns(self, item: U64) -> U64:
        """Logged categories of items (n, C): as told, or as last logged."""
        return self._catalogue.told.logged.over(item, self._seen.columns(item))

    def batch(
        self, questions: Sequence[Question], items: Sequence[U64], tails: Sequence[Exposures | None]
    ) -> tuple[Batch, I64]:
        """Each question's items, with its tail live before them; and the places of the items' queries in the batch."""
        batch = self._batch(questions, items, tails)
        live = [(i, tail) for i, tail in enumerate(tails) if tail is not None]
        if not live:
            return batch, np.arange(len(batch))
        joined = join(*(tail for _, tail in live))
        segment = np.repeat([i for i, _ in live], [len(tail) for _, tail in live])
        return with_tails(batch, joined, segment)

    def _batch(self, questions: Sequence[Question], items: Sequence[U64], tails: Sequence[Exposures | None]) -> Batch:
        segment = np.repeat(np.arange(len(questions)), [len(one) for one in items])
        at = np.array([question.at for question in questions], np.int64)
        item = np.concatenate(items)
        users = [self._user(question, tail) for question, tail in zip(questions, tails, strict=True)]
        return Batch(
            users=np.array([question.user for question in questions], np.uint64),
            user_columns={name: join_columns([one[name] for one in users]) for name in self._columns["user"]},
            since=at,
            segment=segment,
            item=item,
            item_columns=self.item_columns(item),
            time=at[segment],
            context={
                n: take(join_columns([q.context[n] for q in questions]), segment) for n in self._columns["context"]
            },
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
