"""The stages of a cut, opened to answer: a user's candidates from the index, and a light order of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marm.engine.engine import Share
from marm.stages.cascader import Sided
from marm.stages.index import read_index, search
from marm.stages.stages import Stages
from marm.types import F32, F64, I64, U64, Bool

_AT_ONCE = 8192


@dataclass(frozen=True)
class Found:
    """Items of the index, best first."""

    place: I64
    score: F32


class Ready:
    """Answers from one cut's weights and index; nothing in it changes."""

    def __init__(self, stages: Stages, cut: Path, numbers: dict[str, Any]) -> None:
        """``numbers``: what the cut holds of the stages. Errors: ``FolderError`` where the index is missing or broken."""
        self._engine, self._log = stages.engine, stages.log
        self.retrieval, self.cascading = stages.retrieval, stages.cascading
        if self.retrieval:
            items, width = len(self.retrieval.items), self.retrieval.config.width + 1
            self._index = read_index(cut, numbers["retrieval"]["index"], items, width)
        self._targets = self._all_items() if self.retrieval and self.cascading else None
        """Of every item of the index, as of the cut: thousands of them are put in order for one request."""

    @property
    def items(self) -> U64:
        """Ids of all items of the index, by place."""
        return self.retrieval.items.ids if self.retrieval else np.zeros(0, np.uint64)

    def holds(self, items: U64) -> Bool:
        """Which of these items the index has (n,)."""
        return self.retrieval.items.find(items) >= 0 if self.retrieval else np.zeros(len(items), bool)

    def find(self, share: Share, query: int, allowed: U64 | None, hidden: U64, count: int) -> Found:
        """Items for the user of a share's query at its time, among ``allowed`` (None: all) and none of ``hidden``."""
        assert self.retrieval is not None
        history = self.retrieval.history(share, np.array([query]))
        vectors = self.retrieval.vectors_of(history)[0]
        known = self.retrieval.items
        only = None if allowed is None else known.find(np.unique(allowed))
        only = None if only is None else only[only >= 0]
        away = known.find(np.unique(hidden))
        return Found(*search(self._index, vectors, count, only, away[away >= 0]))

    def order(self, share: Share, query: int, items: U64, logged: U64) -> F64:
        """Cascading's final score of candidates (n,) for the user of a share's query; all share what that query sees."""
        assert self.cascading is not None
        stage = self.cascading
        targets = self._known(items) or stage.sided(items, stage.engine.embed_items(items, logged))
        return stage.order(share, np.array([query]), targets)

    def _known(self, items: U64) -> Sided | None:
        """Targets as made at the start; None where there is one among them that the index does not hold."""
        if self._targets is None or self.retrieval is None:
            return None
        at = self.retrieval.items.find(items)
        return self._targets.pick(at) if (at >= 0).all() else None

    def _all_items(self) -> Sided:
        assert self.retrieval is not None
        ids, events = self.retrieval.items.ids, self.retrieval.items.event
        parts = [self._some_items(ids[low : low + _AT_ONCE], events[low : low + _AT_ONCE])
                 for low in range(0, max(len(ids), 1), _AT_ONCE)]  # fmt: skip
        return Sided(torch.cat([part.row for part in parts]), torch.cat([part.bias for part in parts]))

    def _some_items(self, ids: U64, events: I64) -> Sided:
        assert self.cascading is not None
        return self.cascading.sided(ids, self._engine.embed_items(ids, self._log.item_columns(events)))


def has_history(share: Share, queries: I64) -> Bool:
    """Whether the users of a share's queries (n,) have anything before them."""
    return np.greater(share.passed.views.end[queries], share.passed.views.begin[queries])
