"""Slates by models: retrieval from all items, cascading, ranking; all users of a tick in one batch through each."""

import numpy as np
import polars as pl
import torch

from marm.config import order_by
from marm.data.ids import hash_text
from marm.engine.engine import Attended
from marm.stages.fused import fused
from marm.stages.history import places
from marm.stages.orders import firsts
from marm.stages.ready import has_history
from marm.study.ab.learning import Learning
from marm.types import F32, F64, I32, I64, U64

_AT_ONCE = 128
"""Users in one batch."""


class Pipeline:
    """What a request goes through, as a server would have it, with the weights at hand."""

    def __init__(self, ranking: Learning, finding: Learning, items: int, users: int) -> None:
        """``finding``: the model that finds the candidates; the same one, or another."""
        self.ranking, self.finding = ranking, finding
        self._items, self._users = (hash_text(pl.Series(np.arange(n))) for n in (items, users))
        self._by_hash = np.argsort(self._items)
        self._score = order_by(ranking.run.serve.score, list(ranking.run.tasks))
        self._share = ranking.run.serve.retrieval_share

    def slates(self, users: I64, at: I64, shown: I32, count: int) -> I64:
        """Items (Q, count) for users at times in milliseconds, best first; -1 where no more were found.

        ``shown`` (Q, S): what is not to be shown again; -1 is none.
        """
        parts = [slice(low, low + _AT_ONCE) for low in range(0, len(users), _AT_ONCE)]
        return np.concatenate([self._slates(self._users[users[p]], at[p] * 1000, shown[p], count) for p in parts])

    def _slates(self, users: U64, at: I64, shown: I32, count: int) -> I64:
        with torch.no_grad():
            found = self._narrowed(users, at, shown)
            out = np.full((len(users), count), -1)
            if found.shape[1]:
                attended, queries = self.ranking.attend(users, at, self._items[found])
                logit = attended.logit_QT[torch.from_numpy(queries)].float()
                predicted: F32 = self.ranking.engine.model.predict(logit).cpu().numpy()
                score = self._score(predicted).reshape(found.shape)
                score = fused(score, np.broadcast_to(np.arange(1, found.shape[1] + 1), found.shape), self._share)
                best = np.argsort(-score, axis=1, kind="stable")[:, :count]
                out[:, : best.shape[1]] = np.take_along_axis(found, best, 1)
        return out

    def _narrowed(self, users: U64, at: I64, shown: I32) -> I64:
        """Candidates for ranking (Q, C), in the order of the stages before."""
        attended, queries = self.finding.attend(users, at, np.zeros((len(users), 1), np.uint64))
        found = self._found(attended, queries, shown)
        cascading = self.finding.stages.cascading
        if cascading is None or found.shape[1] <= cascading.config.given:
            return found
        score = self._cascaded(attended, queries, found)
        ranks = np.broadcast_to(np.arange(1, found.shape[1] + 1), found.shape)
        order = np.argsort(-fused(score, ranks, self._share), axis=1, kind="stable")
        return np.take_along_axis(found, order[:, : cascading.config.given], 1)

    def _found(self, attended: Attended, queries: I64, shown: I32) -> I64:
        """Retrieval's first items for each user (Q, F), as many for each; who has no history has the popular ones."""
        retrieval = self.finding.stages.retrieval
        assert retrieval is not None
        known = retrieval.known(self.finding.trainer.stepper.steps)
        hidden = np.where(shown >= 0, retrieval.items.find(self._items[shown].reshape(-1)).reshape(shown.shape), -1)
        asked = retrieval.asked(attended, queries)
        asked = asked._replace(seen=hidden.reshape(-1), seen_at=np.arange(len(hidden) + 1) * hidden.shape[1])
        new = _without_history(attended, queries)
        # A vector of zeros but for the popularity that every item's holds last.
        asked.queries_PIE[new, :, :-1] = 0.0
        place = firsts(asked, known, retrieval.config.found)
        least = int((place >= 0).sum(1).min())
        return self._by_hash[np.searchsorted(self._items[self._by_hash], retrieval.items.ids[place[:, :least]])]

    def _cascaded(self, attended: Attended, queries: I64, found: I64) -> F64:
        """Cascading's scores of candidates (Q, F)."""
        cascading = self.finding.stages.cascading
        assert cascading is not None
        distinct, which = np.unique(found, return_inverse=True)
        ids = self._items[distinct]
        logged = np.zeros((len(ids), len(self.finding.log.manifest.columns["item"])), np.uint64)
        targets, which = cascading.sided(ids, self.finding.engine.embed_items(ids, logged)), which.reshape(found.shape)
        score = np.empty(found.shape)
        for share in attended.shares:
            mine, local = places(share, queries)
            if len(mine):
                made = cascading.order(share, local, targets.pick(which[mine].reshape(-1)))
                score[mine] = made.reshape(len(mine), -1)
        return score


def _without_history(attended: Attended, queries: I64) -> np.ndarray:
    new = np.zeros(len(queries), bool)
    for share in attended.shares:
        mine, local = places(share, queries)
        new[mine] = ~has_history(share, local)
    return new
