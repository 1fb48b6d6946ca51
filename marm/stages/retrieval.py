"""The retrieval stage on the stream: measure what is new, learn from what is due, keep count of all items."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.engine.engine import Attended, Engine, Share
from marm.engine.leaf import Leaf
from marm.model.outcomes import OutcomeCodes
from marm.nn.saving import part, signed
from marm.ranks import on_all
from marm.stages.history import History, positive, scored_by
from marm.stages.hits import Hits, sampled
from marm.stages.items import Items, Ring
from marm.stages.orders import ORDERS, Asked, Known, ranks
from marm.stages.retriever import Retriever, look, look_for_others, own_history, own_items, softmax_loss
from marm.stages.rivals import CoOccurrence, Popularity, load_rivals, rivals_state
from marm.stages.room import room
from marm.stages.shown import Received
from marm.stages.weights import Weights, seeded
from marm.store.rings import places_from
from marm.types import F32, I64, U64, Bool

DEPTHS = [50, 100, 500]
_KEY = 0x52455452
_AT_ONCE = 8192
_NEVER = 2**62
"""Step at which vectors were made that are not made again."""


class Part(NamedTuple):
    """What one share attended to of some events (P)."""

    mine: I64
    """Their places (p,) ..."""
    local: I64
    """... and their queries in the share."""
    share: Share
    history: History


class Retrieval:
    """Reads ranking's embeddings and states as they are and writes none of them."""

    def __init__(self, run: RunConfig, log: EventLog, engine: Engine) -> None:
        config = run.stages.retrieval
        assert config is not None
        self.run, self.config, self.log, self.engine, self.group = run, config, log, engine, engine.group
        codes = OutcomeCodes(run.tasks, run.model.outcomes)
        self.codes = positive_codes(run, codes)
        device, seed = engine.table.weight.device, run.train.seed
        self.model = seeded(
            seed + 1, lambda: Retriever(config, run.model, codes.parts(), config.layers or 1 + run.depths)
        ).to(device)
        table = engine.table.beside(config.table_rows, run.model.width, seed + 1)
        rates = config.learning_rate, config.table_rate
        self.weights = Weights(self.model, table, rates, run.train.warmup, run.train.clip, engine.group)
        self.items = Items(config.frequency_rate)
        self.popularity, self.beside = Popularity(config.popular), CoOccurrence(config.partners)
        self.hits = Hits(ORDERS, DEPTHS, 4 * log.manifest.prepared // 5)
        self.received = Ring(config.recent)
        self._vectors: F32 = np.zeros((0, config.width + 1), np.float32)
        self._held, self._made = 0, -config.refresh
        """Step at which the vectors were made."""

    def begin_anew(self, last_from: int) -> None:
        """Count anew, with the vectors of a cut; ``last_from``: the event from which on the last fifth counts."""
        self.hits = Hits(ORDERS, DEPTHS, last_from)
        self._renew(_NEVER)

    def measure(self, attended: Attended, received: Received, step: int) -> None:
        """Where the received items stand among all items so far, for a sample; before anything of the step is known."""
        received = received.pick(sampled(received.number, self.config.measured, _KEY))
        if not len(received):
            return
        new = self.items.find(received.item) < 0
        ranked = np.zeros((len(ORDERS), len(new)), np.int64)
        if not new.all():
            old = received.pick(~new)
            asked, target = self.asked(attended, old.query), self.items.find(old.item[old.mine])
            ranked[:, ~new] = old.on_all(self.group, ranks(asked, self.known(step), target).T)[0].T
        self.hits.add(received.number, new, ranked)

    def asked(self, attended: Attended, queries: I64) -> Asked:
        """What the orders of all items are asked with, at the time of each of a pass's ``queries`` (P,)."""
        vectors = np.zeros((len(queries), self.config.interests, self.config.width + 1), np.float32)
        seen, last = Ragged(len(vectors)), Ragged(len(vectors))
        parts = self._parts(attended, queries)
        for mine, local, share, history in parts:
            vectors[mine] = self.vectors_of(history)
            shown = self.items.find(share.items)
            if not self.config.again:
                seen.put(mine, shown[share.passed.item_of_row], *_all_before(share, local))
            last.put(mine, shown[history.item_of_row], *self._last(history))
        if not parts:
            look_for_others(self.weights)
        return Asked(vectors, *seen.flat(), *last.flat())

    def _parts(self, attended: Attended, queries: I64) -> list[Part]:
        """The shares that scored any of a pass's ``queries``, and what these may attend to."""
        scored = scored_by(attended, queries)
        return [Part(mine, local, share, self.history(share, local)) for share, mine, local in scored]

    def _last(self, history: History) -> tuple[I64, I64]:
        """The newest few positive rows of each query: first, and one past the last."""
        return np.maximum(history.views.begin, history.views.end - self.config.near), history.views.end

    def history(self, share: Share, queries: I64) -> History:
        """Positive events that queries of a share may attend to."""
        return positive(share, queries, self.config.window, self.run.memory.window, self.codes)

    def vectors_of(self, history: History) -> F32:
        """Vectors of each query's user (Q, I, E + 1), without gradient."""
        with torch.no_grad():
            made: F32 = self._user_vectors(history)[0].cpu().numpy()
        return made

    def _user_vectors(self, history: History) -> tuple[Tensor, list[Leaf]]:
        users, items = look(self.weights, history, np.zeros(0, np.int64))
        made = self.model.user_vectors(history, users.embedded, items.embedded, self.engine.model.layers)
        return made, [users, items]

    def known(self, step: int) -> Known:
        """What the orders come from; vectors of items are made anew every few steps, those of new ones at once."""
        if step >= self._made + self.config.refresh:
            self._renew(step)
        elif self._held < len(self.items):
            new = self.item_vectors(np.arange(self._held, len(self.items)))
            self._vectors = room(self._vectors, len(self.items))
            self._vectors[self._held : len(self.items)] = new
            self._held = len(self.items)
        popular = self.popularity.scores(self.items.event)
        return Known(self._vectors[: self._held], popular, self.beside.tables)

    def _renew(self, step: int) -> None:
        self._vectors, self._held, self._made = self.item_vectors(np.arange(len(self.items))), len(self.items), step

    def item_vectors(self, at: I64) -> F32:
        """Vectors of known items (n, E + 1), by place; each is made by one rank."""
        ranks, most = self.group.size, -(-len(at) // self.group.size)
        mine = np.array_split(at, ranks)[self.group.rank]
        out = np.zeros((len(mine), self.config.width + 1), np.float32)
        popular = self._log_share(mine)
        with torch.no_grad():
            for low in range(0, most, _AT_ONCE):
                some = mine[low : low + _AT_ONCE]
                ranked, own = self._item_parts(some)
                log_share = torch.from_numpy(popular[low : low + _AT_ONCE]).to(ranked.device)
                out[low : low + _AT_ONCE] = self.model.item_vectors(ranked, own.embedded, log_share).cpu().numpy()
        return on_all(self.group, [out])[0]

    def _log_share(self, at: I64) -> F32:
        return self.popularity.log_share(at, self.items.event[at], self.items.newest)

    def _item_parts(self, at: I64) -> tuple[Tensor, Leaf]:
        """Ranking's embeddings and own rows of known items."""
        ids = self.items.ids[at]
        ranked = self.engine.embed_items(ids, self.log.item_columns(self.items.event[at]))
        return ranked, self.weights.look_up(self.weights.items(ids))

    def see(self, items: U64, numbers: I64) -> None:
        """Items that were shown, after all that is measured of them."""
        self.items.see(items, numbers)
        self._grow()

    def tell(self, items: U64) -> None:
        """Items that were told of: who was never shown is found by what is known of it."""
        self.items.tell(items)
        self._grow()

    def _grow(self) -> None:
        self.popularity.grow(len(self.items))
        self.beside.grow(len(self.items))

    def learn(self, attended: Attended, received: Received) -> None:
        """One update from positive events whose outcome is known, and their place in all counts."""
        if not len(received):
            return
        at = self.items.find(received.item)
        parts = self._parts(attended, received.query)
        self._pair(parts, received, at)
        # Drawn anew for each step: items that stood there for many steps would be pushed down for being of late.
        chance = np.random.default_rng([self.run.train.seed, int(received.number[0])])
        users, drawn = self.received.draw(chance, self.config.negatives)
        place, which = np.unique(np.concatenate([drawn, at]), return_inverse=True)
        with torch.enable_grad():
            self._update(parts, received, place, which, np.concatenate([users, received.user]))
        self.received.add(received.user, at)
        self.items.receive(at)
        self.popularity.add(at)

    def _update(self, parts: list[Part], received: Received, place: I64, which: I64, users: U64) -> None:
        """``place`` (K,): distinct items of the softmax; ``which``: that of each drawn event and then of the step's.

        On many ranks each tells the items of its own events from the same K, and all divide by the events of all.
        """
        ranked, own = self._item_parts(place)
        frequency = torch.from_numpy(self.items.log_frequency(place)).to(ranked.device)
        popular = torch.from_numpy(self._log_share(place)).to(ranked.device)
        items_KE = self.model.item_vectors(ranked, own.embedded, popular)
        if not parts:
            look_for_others(self.weights)
            self.weights.learn(None, [], len(received))
            return
        looked = [self._user_vectors(part.history) for part in parts]
        had = [own_history(part.history, self.items.find(part.history.items), place) for part in parts]
        order = received.mine[np.concatenate([part.mine for part in parts])]
        users_PIE = torch.cat([vectors for vectors, _ in looked])
        score_PK = (users_PIE @ items_KE.T).amax(1)
        target = torch.from_numpy(which[len(which) - len(received) :][order])
        counts = torch.from_numpy(np.bincount(which, minlength=len(place))).to(score_PK)
        mine_PK = own_items(users, which, received.user[order], len(place)) | torch.cat(had)
        loss = softmax_loss(score_PK, frequency, counts, mine_PK.to(score_PK.device), target.to(score_PK.device))
        self.weights.learn(loss, [own, *(leaf for _, leaves in looked for leaf in leaves)], len(received))

    def _pair(self, parts: list[Part], received: Received, at: I64) -> None:
        """Count which items were received beside which."""
        last = Ragged(len(received.mine))
        for mine, _, _, history in parts:
            last.put(mine, self.items.find(history.items)[history.item_of_row], *self._last(history))
        before, bounds = received.ragged(self.group, *last.flat())
        self.beside.add(at, before, bounds[:-1], bounds[1:])

    def result(self) -> dict[str, Any]:
        """For result.json: recall of the last fifth, and of the whole stream."""
        return {
            **self.hits.summary("last"),
            "whole": self.hits.summary("whole"),
            "items": len(self.items),
            "refresh_steps": self.config.refresh,
        }

    def window(self) -> dict[str, Any]:
        """For metrics.jsonl, since the last call."""
        out = self.hits.summary("window")
        self.hits.close_window()
        return out

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """For the cut: tensors and numbers."""
        tensors = {
            **{f"weights.{name}": value for name, value in self.weights.state().items()},
            **{f"items.{name}": value for name, value in self.items.state().items()},
            **{f"rivals.{name}": value for name, value in rivals_state(self.popularity, self.beside).items()},
            **{f"received.{name}": value for name, value in self.received.state().items()},
            "measured_with": signed(self._vectors[: self._held]),
        }
        return tensors, {"hits": self.hits.state(), "made": self._made}

    def load(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Take up where ``state`` was taken."""
        self.weights.load(part(tensors, "weights."))
        self.items.load(part(tensors, "items."))
        load_rivals(self.popularity, self.beside, part(tensors, "rivals."), len(self.items))
        self.received.load(part(tensors, "received."))
        self._vectors, self._made = tensors["measured_with"].numpy(), numbers["made"]
        self._held = len(self._vectors)
        self.hits.load(numbers["hits"])


def positive_codes(run: RunConfig, codes: OutcomeCodes) -> Bool:
    """Which outcome codes say that retrieval's task was positive (codes,)."""
    task = list(run.tasks).index(run.positive_task)
    if run.tasks[run.positive_task].every_row:
        return np.ones(len(codes), bool)
    return codes.positive(task)


def _all_before(share: Share, queries: I64) -> tuple[I64, I64]:
    """Every row of the pass that these queries' users had before: first and one past the last."""
    passed = share.passed
    segment = passed.segment_of_query[queries]
    return passed.work.rows_at[segment], passed.views.end[queries]


class Ragged:
    """Values of P users, gathered in any order."""

    def __init__(self, users: int) -> None:
        self._counts = np.zeros(users, np.int64)
        self._pieces: list[I64] = [np.zeros(0, np.int64)]
        self._whose: list[I64] = [np.zeros(0, np.int64)]

    def put(self, users: I64, values: I64, begin: I64, end: I64) -> None:
        """Of each user the values of a range."""
        counts = np.maximum(end - begin, 0)
        at = places_from(begin, counts)
        self._counts[users] = counts
        self._pieces.append(values[at])
        self._whose.append(np.repeat(users, counts))

    def flat(self) -> tuple[I64, I64]:
        """All values in order of users, and where each user's begin (P + 1,)."""
        order = np.argsort(np.concatenate(self._whose), kind="stable")
        return np.concatenate(self._pieces)[order], np.concatenate([[0], np.cumsum(self._counts)])
