"""The cascading stage on the stream: it learns from labels and from ranking's scores, also of items that nobody was shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marm.config import RunConfig, order_by
from marm.data.negatives import draw
from marm.data.stream import EventLog
from marm.engine.batch import Batch
from marm.engine.batches import Drawn, ask
from marm.engine.engine import Attended, Engine, Share
from marm.engine.exposures import Exposures
from marm.engine.leaf import Leaf
from marm.model.outcomes import OutcomeCodes
from marm.nn.saving import part
from marm.stages.cascader import Cascader, Sided
from marm.stages.fused import fused
from marm.stages.history import History, newest, repeated, scored_by
from marm.stages.hits import Hits, sampled
from marm.stages.kept import Kept
from marm.stages.retriever import look, look_for_others
from marm.stages.shown import Received, Shown
from marm.stages.weights import Weights, seeded
from marm.types import F32, F64, I64, U64, Bool

TOPS = [10, 50]
_LEARN, _MEASURE = 0x43415343, 0x454E4432


@dataclass(frozen=True)
class Lesson:
    """Queries of a pass with what is to be learned of them."""

    attended: Attended
    query: I64
    """(Q,)"""
    label_QT: F32
    """NaN where nothing was observed."""


@dataclass(frozen=True)
class Tried:
    """Candidates (P, C) of some exposures of a pass, scored as ranking would: by place of the exposure."""

    attended: Attended
    query: I64
    """(P, C) queries of that pass."""


class Cascading:
    """Reads ranking's embeddings, states and scores as they are and writes none of them."""

    def __init__(self, run: RunConfig, log: EventLog, engine: Engine) -> None:
        config = run.stages.cascading
        assert config is not None
        self.run, self.config, self.log, self.engine = run, config, log, engine
        codes = OutcomeCodes(run.tasks, run.model.outcomes)
        device, seed = engine.table.weight.device, run.train.seed
        self.model = seeded(seed + 2, lambda: Cascader(config, run.model, codes.parts(), len(run.tasks))).to(device)
        table = engine.table.beside(config.table_rows, run.model.width, seed + 2, len(run.tasks))
        rates = config.learning_rate, config.table_rate
        self.weights = Weights(self.model, table, rates, run.train.warmup, run.train.clip, engine.group)
        self.depth = min(1, run.depths) if config.depth is None else config.depth
        self._orders = ["cascading", *(["retrieval", "popularity"] if run.stages.retrieval else [])]
        self.begin_anew(4 * log.manifest.prepared // 5)
        self.ask = _live
        """How exposures and drawn items beside them are asked about; an evaluation without memory has its own way."""
        self._order = order_by(run.serve.score, list(run.tasks))

    def begin_anew(self, last_from: int) -> None:
        """Count anew; ``last_from``: the event from which on the last fifth counts."""
        self.kept = Kept(self._orders, TOPS, last_from)
        self.hits = Hits(["stages", "popularity", "co_occurrence"], TOPS, last_from)

    def learn(self, shown: Shown, label_QT: F32) -> None:
        """One update from a pass whose outcomes are known, and from items drawn for some of its events."""
        lessons = [Lesson(shown.attended, np.arange(len(label_QT)), label_QT)]
        if self.config.unexposed and sampled(shown.whole.number, self.config.sampled, _LEARN).any():
            which = np.flatnonzero(sampled(shown.seen.number, self.config.sampled, _LEARN))
            tried = self.try_out(shown.seen, which, *self.drawn(shown, which, self.config.unexposed))
            query = tried.query[tried.query >= 0]
            lessons.append(Lesson(tried.attended, query, np.full((len(query), label_QT.shape[1]), np.nan, np.float32)))
        with torch.enable_grad():
            self._update(lessons)

    def _update(self, lessons: list[Lesson]) -> None:
        total: Tensor | None = None
        leaves: list[Leaf] = []
        (queries,) = self.engine.group.total(sum(len(lesson.query) for lesson in lessons))
        for lesson in lessons:
            parts = scored_by(lesson.attended, lesson.query)
            if not parts:
                look_for_others(self.weights)
            for share, mine, local in parts:
                logit, looked = self._logits(share, local)
                ranked = share.output.logit_QT.detach()[torch.from_numpy(local)].float()
                label = torch.from_numpy(lesson.label_QT[mine]).to(logit.device)
                loss = self._loss(logit, label, ranked)
                total = loss if total is None else total + loss
                leaves += looked
        if queries:
            self.weights.learn(total, leaves, queries)

    def _loss(self, logit_QT: Tensor, label_QT: Tensor, ranked_QT: Tensor) -> Tensor:
        """Ranking's loss from the labels, and from ranking's own predictions as if they were labels."""
        ranker = self.engine.model
        taught = ranker.loss(logit_QT, ranker.predict(ranked_QT))
        return ranker.loss(logit_QT, label_QT) + self.config.distil * taught

    def _logits(self, share: Share, local: I64) -> tuple[Tensor, tuple[Leaf, Leaf]]:
        history, about = newest(share, local, self.config.window), share.passed.item_of_query[local]
        own_users, own_items = look(self.weights, history, about)
        items = self.model.items(history.item_UD, own_items.embedded)
        users = self.model.users(history.user_QD, own_users.embedded)
        return self.attend(history, items.pick(about), users, items.row), (own_users, own_items)

    def attend(self, history: History, targets: Sided, users: Sided, raw_UD: Tensor) -> Tensor:
        """Logits (Q, T) of targets whose users have this history; ``raw_UD``: rows of depth 0."""
        spans = self.model.layer.attention.spans
        live, ops = history.operands(self.depth, spans, raw_UD, self.engine.model.layers)
        logit: Tensor = self.model(targets, users, live, raw_UD, ops)
        return logit

    def sided(self, ids: U64, ranked_ND: Tensor) -> Sided:
        """Items (N) as targets, given what ranking holds for them; no gradient."""
        with torch.no_grad():
            return self.model.items(ranked_ND, self.weights.look_up(self.weights.items(ids)).embedded)

    def order(self, share: Share, queries: I64, targets: Sided) -> F64:
        """Final scores (P x C,) of candidates, as many for each of a share's queries (P,), one query after the other."""
        each = len(targets.row) // len(queries)
        history = newest(share, queries, self.config.window)
        rows = self.sided(share.items, history.item_UD).row
        with torch.no_grad():
            own = self.weights.look_up(self.weights.users(history.users)).embedded
            users = self.model.users(history.user_QD, own).pick(np.repeat(np.arange(len(queries)), each))
            return self.final(self.attend(repeated(history, each), targets, users, rows))

    def drawn(self, shown: Shown, which: I64, count: int) -> tuple[U64, I64]:
        """Items of events before the pass, drawn for exposures ``which``: (P, count) ids and events; -1: none."""
        whole = shown.whole.number
        # An evaluation's events lie beyond the log, which is all that there is to draw from.
        beyond = max(0, int(whole.max()) - len(self.log))
        first = np.full(len(which), min(int(whole.min()), len(self.log)))
        recent, seed = self.run.negatives.recent + beyond, self.run.train.seed + 2
        number = draw(shown.seen.number[which], first, first, count, recent, seed, self.log.item_hashes)
        items = np.zeros(number.shape, np.uint64)
        items[number >= 0] = self.log.item_hashes(number[number >= 0])
        return items, number

    def try_out(self, seen: Exposures, which: I64, items: U64, number: I64) -> Tried:
        """Score candidates (P, C) beside exposures ``which`` as ranking would, their users' other exposures as live as ever."""
        with_users = np.flatnonzero(np.isin(seen.user, seen.user[which]))
        place = np.searchsorted(with_users, which)
        there = number != -1
        exposure = np.repeat(place, there.sum(1))
        columns = self.engine.told.logged.over(items[there], self.log.item_columns(number[there]))
        batch, query_of_drawn = self.ask(seen.pick(with_users), Drawn(exposure, number[there], items[there], columns))
        with torch.no_grad():
            attended = self.engine.attend(batch)
        query = np.full(number.shape, -1)
        query[there] = query_of_drawn
        return Tried(attended, query)

    def scores(self, attended: Attended, query: I64) -> tuple[F64, F64]:
        """This stage's and ranking's final scores of a pass's queries (n,)."""
        logit = np.zeros((len(query), len(self.run.tasks)), np.float32)
        parts = scored_by(attended, query)
        with torch.no_grad():
            if not parts:
                look_for_others(self.weights)
            for share, mine, local in parts:
                logit[mine] = self._logits(share, local)[0].cpu().numpy()
        return self.final(torch.from_numpy(logit)), self.final(attended.logit_QT[torch.from_numpy(query)].float().cpu())

    def final(self, logit_QT: Tensor) -> F64:
        """By what candidates are put in order (Q,): ``serve.score``, or the first task."""
        predicted: F32 = self.engine.model.predict(logit_QT.to(self.engine.table.weight.device)).cpu().numpy()
        return self._order(predicted)

    def is_measured(self, numbers: I64) -> Bool:
        """Which events are measured through all stages."""
        return sampled(numbers, self.config.measured, _MEASURE)

    def measure(self, received: Received, tried: Tried, orders: dict[str, F64]) -> I64:
        """How much of ranking's top this stage keeps of candidates (M, C) of this rank's events, beside other orders of them.

        ``orders``: scores (M, C) by which one might have kept. Returns the rank that ranking gives to each candidate that was
        given on (M, C), 1 first; 0 for all others.
        """
        there = tried.query >= 0
        mine, ranked = (np.full(there.shape, -np.inf) for _ in range(2))
        mine[there], ranked[there] = self.scores(tried.attended, tried.query[there])
        if "retrieval" in orders:
            found = np.broadcast_to(_ranks(orders["retrieval"]), there.shape)
            mine, ranked = (fused(score, found, self.run.serve.retrieval_share) for score in (mine, ranked))
        given = min(self.config.given, max(there.shape[1] // 2, 1))
        rank = _ranks(ranked)
        kept = {name: _ranks(score) <= given for name, score in ({"cascading": mine} | orders).items()}
        all_rank, all_there, *all_kept = received.on_all(self.engine.group, rank, there, *kept.values())
        self.kept.add(received.number, all_rank, all_there, dict(zip(kept, all_kept, strict=True)))
        through = np.where(kept["cascading"] & there, ranked, -np.inf)
        return np.where(np.isfinite(through), _ranks(through), 0)

    def result(self) -> dict[str, Any]:
        """For result.json: of the last fifth."""
        return self._summary("last")

    def window(self) -> dict[str, Any]:
        """For metrics.jsonl, since the last call."""
        out = self._summary("window")
        self.kept.close_window()
        self.hits.close_window()
        return out

    def _summary(self, part: str) -> dict[str, Any]:
        """What is kept of ranking's top, and all stages end to end where there is retrieval."""
        out = self.kept.summary(part)
        if self.hits.summary("whole")["events"]:
            both = [self.hits.summary(part, measure) for measure in ("recall", "ndcg")]
            out["end_to_end"] = both[0] | {order: both[0][order] | both[1][order] for order in self.hits.orders}
        return out

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """For the cut: tensors and numbers."""
        weights = {f"weights.{name}": value for name, value in self.weights.state().items()}
        return weights, {"kept": self.kept.state(), "hits": self.hits.state()}

    def load(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Take up where ``state`` was taken."""
        self.weights.load(part(tensors, "weights."))
        self.kept.load(numbers["kept"])
        self.hits.load(numbers["hits"])


def _live(seen: Exposures, drawn: Drawn) -> tuple[Batch, I64]:
    """Exposures as live rows; the batch, and the queries that the drawn items are."""
    asked = ask(seen, drawn)
    return asked.batch, asked.query_of_drawn


def _ranks(score_PC: F64) -> I64:
    """Rank of each of a row's scores, 1 the highest, equal ones by place."""
    order = np.argsort(-score_PC, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(1, score_PC.shape[1] + 1)[None], axis=1)
    return rank
