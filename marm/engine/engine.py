"""The heart: score a batch with what is remembered of its users, and remember what was made of it."""

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from marm.config import RunConfig
from marm.data.events import Column, Side, take
from marm.data.lookup import Lookup
from marm.data.told import Told, nothing_told
from marm.engine.batch import Batch, Layout, deal, lay_out, split
from marm.engine.exposures import Exposures
from marm.engine.keys import by_item
from marm.engine.leaf import Leaf, look_up
from marm.engine.search import Items, PassSearch, looks
from marm.memory.memory import Memory, Recalled
from marm.model.features import Encoded, FeatureEncoder
from marm.model.inputs import Pass
from marm.model.ranker import Output, Ranker
from marm.nn.blocks import row_norm
from marm.nn.dense import ROWS, is_steady, padded
from marm.nn.operands import plan_work
from marm.nn.shares import side_by_side
from marm.nn.signs import signatures
from marm.nn.table import HashTable, place
from marm.ranks import ALONE, Group
from marm.types import F32, I64, U64

WORTH = 2 * ROWS
"""Targets of one user that make a share of their own worth its second look at the history."""


@dataclass(frozen=True)
class Share:
    """The part of a batch that one thread scored, and what learning from it needs."""

    queries: I64
    """Which queries of the batch."""
    output: Output
    """One row for each of them, padding after; with the gradient's graph."""
    leaves: list[Leaf]
    """Embeddings of the pass's items, users and contexts, then of what each layer's search picked."""
    recalled: Recalled
    batch: Batch
    """The share's own part of the batch."""
    passed: Pass
    items: U64
    """(U,) ids of the distinct items."""
    layout: Layout
    search: PassSearch | None
    """What each layer picked, where there is a search."""


@dataclass(frozen=True)
class Attended:
    """A scored batch: values of every query, and the shares that learning goes through."""

    logit_QT: Tensor
    state_QKD: Tensor
    """Of the depths that are remembered, as their codec gives them again."""
    shares: list[Share]


class Made(NamedTuple):
    """What memory shall hold of live events."""

    states: Tensor
    """(Q, K x C) coded."""
    keys: U64
    """(Q, W) what a search knows them by."""


class Engine:
    """Trainer and server both go through here, so they cannot drift apart."""

    def __init__(
        self,
        run: RunConfig,
        model: Ranker,
        table: HashTable,
        memory: Memory,
        sides: tuple[Side | None, Side | None] = (None, None),
        threads: int = 1,
        group: Group = ALONE,
    ) -> None:
        """``sides``: the item file and the user file; ``threads``: how many shares a batch falls into, on a CPU.

        ``group``: processes that attend together, each to its own users.
        """
        self.group = group
        self.run, self.model, self.table, self.memory = run, model, table, memory
        self._items, self._users = sides
        self._item_rows, self._user_rows = (Lookup(side.ids) if side else None for side in sides)
        self.version = 0
        """Completed steps of the weights at hand."""
        features = run.features
        self._logged = list(memory.shape.item_columns)
        self._item_encoder = FeatureEncoder("item", features.item, True)
        self._user_encoder = FeatureEncoder("user", features.user, run.model.user_id)
        self._context_encoder = FeatureEncoder("context", features.context, False)
        self.told = nothing_told(sides[0], len(self._logged))
        self._lead = int(run.model.token_shift)
        # By settings, not by a batch's length, which hangs on what comes after its first events.
        worth = table.weight.device.type == "cpu" and run.train.micro_batch >= 2 * ROWS
        self.threads = threads if worth else 1
        self._hidden = run.data.history is not None

    def show_items(self, told: Told) -> None:
        """Take items as they are known from now on."""
        if told.side is not None and told.side is not self._items:
            self._items, self._item_rows = told.side, Lookup(told.side.ids)
        self.told = told

    def attend(self, batch: Batch) -> Attended:
        """Score a batch whose users are admitted, in shares side by side; one logit and state for each query."""
        if not len(batch):
            return self._attend_none()
        shares = side_by_side([partial(self._attend, *share) for share in self._dealt(batch)])
        output = shares[0].output
        logit = output.logit_QT.new_empty(len(batch), output.logit_QT.shape[1])
        state = output.state_QKD.new_empty(len(batch), *output.state_QKD.shape[1:])
        for share in shares:
            at = torch.from_numpy(share.queries).to(logit.device)
            logit[at] = share.output.logit_QT[: len(at)].detach()
            state[at] = share.output.state_QKD[: len(at)].detach()
        return Attended(logit, state, shares)

    def _attend_none(self) -> Attended:
        """What a rank does that has nobody of a step: the others look up in the part of the table that it holds."""
        for _ in range(self.looks):
            look_up(self.table, [], np.zeros(0, np.float32))
        return Attended(
            torch.zeros(0, len(self.run.tasks)), torch.zeros(0, self.memory.shape.depths, self.table.width), []
        )

    @property
    def looks(self) -> int:
        """How often a pass looks up in the table, whatever is in it: what ranks do together they do as often."""
        search = self.run.memory.search
        return 1 + (looks(search, self.run.attending) if search else 0)

    def _dealt(self, batch: Batch) -> list[tuple[Batch, I64]]:
        """A request's candidates are split; where bits must not hang on what else is asked, whole users are dealt."""
        alone = len(batch.users) < self.threads and np.count_nonzero(~batch.live) >= WORTH * self.threads
        if alone and not (is_steady() or torch.is_grad_enabled()):
            return split(batch, self.threads)
        return deal(batch, self.threads)

    def _attend(self, batch: Batch, queries: I64) -> Share:
        recalled = self.recall(batch)
        layout = lay_out(batch, recalled, self.run.memory.window, self._hidden, Pass.MISSING)
        ids, logged = self._shown(batch, recalled, layout)
        items = self._encode_items(ids, logged)
        users = self._encode_users(batch)
        contexts = self._context_encoder.encode(np.zeros(len(batch), np.uint64), batch.context)
        passed = self._keyed(self._pass(batch, layout, recalled, items, users, contexts), ids)
        total, bags, before = items.count + users.count + contexts.count, [], 0
        for side in (items, users, contexts):
            bags += [place(bag, before, total - before - side.count) for bag in side.bags]
            before += side.count
        leaf = look_up(self.table, bags, _asked(passed, len(batch)))
        search = self._search(batch, recalled, passed)
        output = self.model(leaf.embedded, replace(passed, search=search) if search else passed)
        return Share(
            queries, output, [leaf, *(search.leaves if search else [])], recalled, batch, passed, ids, layout, search
        )

    def _search(self, batch: Batch, recalled: Recalled, passed: Pass) -> PassSearch | None:
        if not self.run.memory.search:
            return None
        items = Items(self._encode_items, self._embed, self.category)
        return PassSearch(self.run, self.memory, items, batch, recalled, passed, self.version)

    def _embed(self, items: Encoded) -> tuple[Leaf, Tensor]:
        """What the table holds of items that no query asks about, and embeddings with dense features (V, D)."""
        leaf = look_up(self.table, items.bags, np.zeros(items.count, np.float32))
        item_VD: Tensor = self.model.dense["item"](leaf.embedded[:, : self.table.width], items.dense)
        return leaf, item_VD

    def embed_items(self, ids: U64, logged: U64) -> Tensor:
        """What ranking's table and dense layers hold for items as they are known: (N, D), no gradient.

        ``logged`` (N, C): categories as the log last said them.
        """
        with torch.no_grad():
            return self._embed(self._encode_items(ids, self.told.logged.over(ids, logged)))[1]

    def at_hand(self, ids: U64, logged: U64) -> "Engine":
        """The same over what the table holds of these items (N) by now, fetched at once: its passes ask no other rank."""
        other = copy.copy(self)
        other.table = self.table.at_hand(self._encode_items(ids, logged).bags)
        return other

    @torch.no_grad()
    def made_of(self, batch: Batch, recalled: Recalled) -> Made:
        """What is to be remembered of the live queries of a batch, nothing scored; no gradient."""
        layout = lay_out(batch, recalled, self.run.memory.window, self._hidden, Pass.MISSING)
        ids, logged = self._shown(batch, recalled, layout)
        items = self._encode_items(ids, logged)
        passed = self._keyed(self._pass(batch, layout, recalled, items, items, items), ids)
        search = self._search(batch, recalled, passed)
        item_UD = self._embed(items)[1]
        states_QKD = self.model.states(item_UD, replace(passed, search=search) if search else passed)[: len(batch)]
        coded = self.memory.shape.coding.encode(states_QKD).flatten(1)
        return Made(coded, self._keys(batch, passed, item_UD, states_QKD))

    def recall(self, batch: Batch) -> Recalled:
        """The window and the row before it for token shift; more where rows may be hidden at the ring's newest end."""
        if not self.run.model.layers:
            return self.memory.recall(batch.users, batch.since, 0)
        recall = self.memory.recall_shown if self._hidden else self.memory.recall
        count = self.run.reach + self._lead
        return recall(batch.users, batch.since, count, batch.begins(), self.version)

    def _pass(
        self, batch: Batch, layout: Layout, recalled: Recalled, items: Encoded, users: Encoded, contexts: Encoded
    ) -> Pass:
        """Pad the queries to a fixed number and find the codes of their pairs."""
        extra = padded(len(batch)) - len(batch)
        views = layout.views
        begin, end, asked = (_pad(column, extra) for column in (views.begin, views.end, views.asked))
        views = replace(views, begin=begin, end=end, asked=asked)
        item_of_query = _pad(layout.item_of_query, extra)
        if self.run.compared_ids:
            views = replace(views, row_ids=items.ids[layout.item_of_row], query_ids=items.ids[item_of_query])
        segment = _pad(batch.segment, extra)
        work = plan_work(views, segment, layout.rows_at)
        return Pass(
            items,
            users,
            contexts,
            item_of_query,
            segment,
            _pad(np.arange(len(batch)), extra),
            layout.item_of_row,
            views,
            work,
            recalled.block,
            layout.state_of_row,
        )

    def _keyed(self, passed: Pass, ids: U64) -> Pass:
        """The pass with states found as the settings say; ``ids`` of its distinct items."""
        return by_item(passed, ids, self.run.model.token_shift) if self.run.memory.keys == "item" else passed

    def _encode_items(self, ids: U64, logged: U64) -> Encoded:
        """Features of items: their id, the item file's columns, and what was logged with the exposure."""
        return self._item_encoder.encode(ids, self._item_columns(ids, logged))

    def _item_columns(self, ids: U64, logged: U64) -> dict[str, Column]:
        columns: dict[str, Column] = {name: np.ascontiguousarray(logged[:, c]) for c, name in enumerate(self._logged)}
        if self._items and self._item_rows:
            rows = self._item_rows.find(ids)
            columns |= {n: take(c, rows) for n, c in self._items.columns.items() if n not in columns}
        return columns

    def _shown(self, batch: Batch, recalled: Recalled, layout: Layout) -> tuple[U64, U64]:
        """Id and logged columns of each distinct item."""
        rows = len(layout.item_of_row)
        query = layout.sample - rows
        of_query = query >= 0
        ids = np.empty(len(query), np.uint64)
        logged = np.empty((len(query), len(self._logged)), np.uint64)
        ids[of_query], logged[of_query] = batch.item[query[of_query]], batch.item_columns[query[of_query]]
        row = layout.sample[~of_query]
        source = row_source(layout, row, recalled, batch)
        ids[~of_query], logged[~of_query] = source
        return ids, logged

    def _encode_users(self, batch: Batch) -> Encoded:
        columns = batch.user_columns
        if self._users and self._user_rows:
            rows = self._user_rows.find(batch.users)
            columns = columns | {n: take(c, rows) for n, c in self._users.columns.items() if n not in columns}
        return self._user_encoder.encode(batch.users, columns)

    def keys(self, attended: Attended) -> U64:
        """What a search will know each query by, once it is remembered (Q, W): its category, or its states' signs."""
        keys = np.zeros((len(attended.logit_QT), self.memory.shape.keys), np.uint64)
        for share in attended.shares if self.memory.shape.keys else []:
            made, queries = share.output, len(share.queries)
            keys[share.queries] = self._keys(
                share.batch, share.passed, made.item_UD.detach(), made.state_QKD.detach()[:queries]
            )
        return keys

    def _keys(self, batch: Batch, passed: Pass, item_UD: Tensor, state_QKD: Tensor) -> U64:
        search = self.run.memory.search
        if not search or not self.memory.shape.keys:
            return np.zeros((len(batch), 0), np.uint64)
        if search.rule == "category":
            return self.category(batch.item, batch.item_columns)[:, None]
        item = torch.from_numpy(passed.item_of_query[: len(batch)])
        raw_QD = row_norm(item_UD)[item.to(item_UD.device)]
        kept = self.memory.shape.keys * 64 // search.bits
        return signatures(torch.cat([raw_QD[:, None], state_QKD], 1)[:, :kept], search.bits)

    def category(self, ids: U64, logged: U64) -> U64:
        """The category by which a search goes (N,); 0 where an item has none."""
        search = self.run.memory.search
        assert search and search.category
        return cast(U64, self._item_columns(ids, logged)[search.category])

    def remember(self, made: Exposures, states: Tensor, version: int, keys: U64 | None = None) -> None:
        """Append exposures (in order of the stream) and their states (E, K, D) to their users' rings, once each.

        ``keys`` (E, W): what a search will know them by, where there is one.
        """
        keep = np.flatnonzero(made.history)
        if not len(keep):
            return
        order = keep[np.argsort(made.user[keep], kind="stable")]
        users, counts = np.unique(made.user[order], return_counts=True)
        facts = np.zeros(len(order), self.memory.shape.facts)
        facts["time"], facts["known"], facts["item"] = made.time[order], made.known[order], made.item[order]
        facts["outcome"], facts["version"], facts["columns"] = made.outcome[order], version, made.item_columns[order]
        if self.memory.shape.keys:
            assert keys is not None
            facts["keys"] = keys[order]
        rows = states[torch.from_numpy(order).to(states.device)]
        self.memory.remember(users, counts, facts, rows, made.number[order][np.cumsum(counts) - 1])


def _asked(passed: Pass, real: int) -> F32:
    """How many queries use each embedded thing as their own: (U + B + X,)."""
    p = passed
    sides = [(p.item_of_query, p.items), (p.segment_of_query, p.users), (p.context_of_query, p.contexts)]
    counts = [np.bincount(of_query[:real], minlength=side.count) for of_query, side in sides]
    return np.concatenate(counts).astype(np.float32)


def _pad(column: I64, extra: int) -> I64:
    return np.concatenate([column, np.zeros(extra, np.int64)]) if extra else column


def row_source(layout: Layout, row: I64, recalled: Recalled, batch: Batch) -> tuple[U64, U64]:
    """Item and logged columns of rows of the layout: recalled ones, in order, and live ones, which are queries."""
    made = (layout.state_of_row < 0) & (layout.state_of_row != Pass.MISSING)
    ids = np.empty(len(made), np.uint64)
    columns = np.empty((len(made), recalled.facts["columns"].shape[1]), np.uint64)
    query = -1 - layout.state_of_row[made]
    ids[made], columns[made] = batch.item[query], batch.item_columns[query]
    ids[~made], columns[~made] = recalled.facts["item"], recalled.facts["columns"]
    return ids[row], columns[row]
