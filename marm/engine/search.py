"""The general search unit: for each layer the rows before the window that it attends to beside it (SIM; TWIN for ``dot``).

    a user's history   o o o o o o o o o o o o | r r r r l l     o searched, r the window's remembered rows, l live ones
    a layer reads            o     o o     o     r r r r l l     picked by rule, then the window, in one softmax

A choice has no gradient; what was picked has what a row of the window has.
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marm.config import RunConfig, SearchConfig
from marm.engine.batch import Batch, item_keys
from marm.engine.beside import Lists, Rows, beside, listed
from marm.engine.leaf import Leaf
from marm.memory.ages import newest
from marm.memory.memory import Memory, Recalled
from marm.memory.scores import Lines, exact_alone, exact_together
from marm.memory.search import Found, Ranges, nearest, same
from marm.model.features import Encoded
from marm.model.inputs import Pass, Picked
from marm.nn.blocks import row_norm
from marm.nn.codec import codec_of
from marm.nn.dense import is_steady
from marm.nn.signs import signatures
from marm.store.rings import places_from
from marm.store.slots import SlotMap
from marm.types import I64, U64, Bool

_SHARED = 8
"""Queries a segment from which on one product scores them all, where bits may hang on what else is asked."""
_TOGETHER = 16
"""Targets of one window from which on they attend together: alone, each would have a copy of all that it reads."""


def looks(config: SearchConfig, layers: int) -> int:
    """How often a search looks up items: what each layer picked, and what the first one compares by rule ``dot``."""
    return layers + (config.rule == "dot")


class Items(NamedTuple):
    """How an engine sees items."""

    encode: Callable[[U64, U64], Encoded]
    """Features, by ids (V,) and logged columns (V, C)."""
    embed: Callable[[Encoded], tuple[Leaf, Tensor]]
    """What the table holds, and embeddings with dense features (V, D)."""
    category: Callable[[U64, U64], U64]
    """The category that the settings name (V,), by ids and logged columns."""


class PassSearch:
    """Searches for the layers of one share's pass, and notes what they found."""

    def __init__(
        self,
        run: RunConfig,
        memory: Memory,
        items: Items,
        batch: Batch,
        recalled: Recalled,
        passed: Pass,
        version: int,
    ) -> None:
        """``version`` of the weights that search."""
        assert run.memory.search
        self.run, self.config, self.memory, self.items = run, run.memory.search, memory, items
        self.batch, self.passed = batch, passed
        self.found: list[Found] = []
        """By layer, as they asked."""
        self.asked: list[tuple[int, Tensor]] = []
        """Of each layer the depth that it reads and its queries (Q, D)."""
        self.leaves: list[Leaf] = []
        """What was looked up for rows that were picked."""
        self._slots = memory.hot.map.find(batch.users)
        self._now, self._last, self._version = batch.begins(), newest(recalled.facts, recalled.counts), version
        first = recalled.first - passed.work.rows_at[:-1]
        high = passed.views.begin[: len(batch)] + first[batch.segment]
        low = np.minimum(np.maximum(high - self.config.history, self._oldest(self._slots)[batch.segment]), high)
        self.ranges = Ranges(self._slots[batch.segment], low, high)
        self._lines: dict[bool, tuple[Lines, Tensor]] = {}

    def pick(self, depth: int, query_QD: Tensor) -> Picked:
        """As ``Search`` has it."""
        again = self.config.shared and self.found
        self.asked.append((depth, query_QD[: len(self.batch)]))
        self.found.append(self.found[0] if again else self.find(*self.asked[-1]))
        lists = listed(self.found[-1], self._groups, len(self.passed.views.begin))
        rows, items = self._rows(lists, depth > 0)
        leaf, item_VD = self.items.embed(items)
        self.leaves.append(leaf)
        return Picked(beside(self.passed, lists, rows, items.ids, self.run.model.token_shift), item_VD)

    @cached_property
    def _groups(self) -> list[I64]:
        """Targets that share a window, where bits may hang on what else is asked and attention knows how."""
        if is_steady() or torch.is_grad_enabled() or self.memory.hot.device.type != "cpu":
            return []
        groups = self.passed.views.of(np.arange(len(self.batch))).shared(_TOGETHER)
        unborn = [group[~self.batch.live[group]] for group in groups]
        return [group for group in unborn if len(group) >= _TOGETHER]

    def find(self, depth: int, query_QD: Tensor) -> Found:
        """The rows that the rule picks for a layer which reads ``depth``."""
        keys, most = self.memory.hot.keys, self.config.picked
        if self.config.rule == "category":
            wanted = self.items.category(self.batch.item, self.batch.item_columns)
            return same(keys, wanted[:, None], self.ranges, most)
        if self.config.rule == "dot":
            return self.exact(depth, query_QD)
        words, wanted = self.config.bits // 64, signatures(query_QD[:, None], self.config.bits)
        return nearest(keys[depth * words : (depth + 1) * words], wanted, self.ranges, most)

    def picked(self, query: int) -> list[I64]:
        """Positions that each layer picked for a query."""
        return [found.position[found.at[query] : found.at[query + 1]] for found in self.found]

    @property
    def deep(self) -> int:
        """How many layers read states."""
        return sum(depth > 0 for depth, _ in self.asked)

    def versions(self) -> tuple[I64, I64, Bool]:
        """Of what these layers picked: the query, the weights' version at which it was made, whether it has a state (P,)."""
        parts = [found for found, (depth, _) in zip(self.found, self.asked, strict=True) if depth]
        none = [np.zeros(0, np.int64)]
        query = np.concatenate(none + [np.repeat(np.arange(len(self.batch)), np.diff(found.at)) for found in parts])
        position, segment = np.concatenate(none + [found.position for found in parts]), self.batch.segment[query]
        rows = self._where(self._slots[segment], position)
        return query, self._fact("version", rows).astype(np.int64), self._there(segment, position, rows)

    def facts(self, query: int, position: I64) -> tuple[np.ndarray, Bool]:
        """Facts at positions of a query's user, and whether each has a state that may be read."""
        segment = np.broadcast_to(self.batch.segment[query], position.shape)
        rows = self._where(self._slots[segment], position)
        return self.memory.hot.facts.reshape(-1)[rows], self._there(segment, position, rows)

    def recall(self) -> I64:
        """Of each layer, how many of the rows that the exact search finds were picked, and how many there are: (L, 2)."""
        out = []
        for found, (depth, query_QD) in zip(self.found, self.asked, strict=True):
            one, other = (_numbers(each) for each in (found, self.exact(depth, query_QD)))
            out.append([np.isin(other, one).sum(), len(other)])
        return np.array(out, np.int64)

    def exact(self, depth: int, query_QD: Tensor) -> Found:
        """The rows whose states, folded query times state, score highest; those without a state are left out."""
        lines, block = self._line_up(depth > 0)
        column = max(depth - 1, 0) * codec_of(block).columns(query_QD.shape[1])
        shared = len(query_QD) >= _SHARED * len(self.batch.users) and (np.diff(self.batch.segment) >= 0).all()
        may = shared and not (is_steady() or torch.is_grad_enabled())
        way = exact_together if may else exact_alone
        return way(block, column, lines, query_QD, self.batch.segment, self.ranges, self.config.picked)

    def _rows(self, lists: Lists, deep: bool) -> tuple[Rows, Encoded]:
        """What was picked, as rows of a pass, and their items where a layer asks for them."""
        model, shift = self.run.model, self.run.model.token_shift
        # Padding's lists are empty, whosever they are.
        whose = self.passed.segment_of_query[lists.query]
        segment, position = np.repeat(whose, np.diff(lists.at)), lists.position
        slot = self._slots[segment]
        previous = np.full(len(position), -1)
        if shift:
            before = position - 1
            previous = np.concatenate(
                [np.where(before < self._oldest(slot), -1, len(slot) + np.arange(len(slot))), previous]
            )
            segment, position = np.tile(segment, 2), np.concatenate([position, np.maximum(before, 0)])
        rows = self._where(self._slots[segment], position)
        state = np.where(self._there(segment, position, rows), rows, Pass.MISSING)
        time, known, outcome = (self._fact(name, rows) for name in ("time", "known", "outcome"))
        asks = not deep or shift or model.raw_rows or model.equal_ids or bool((state == Pass.MISSING).any())
        number, items = self._distinct(rows if asks else rows[:0])
        item = number if asks else np.zeros(len(rows), np.int64)
        return Rows(time, known, outcome, position, state, previous, item), items

    def _line_up(self, deep: bool) -> tuple[Lines, Tensor]:
        """All rows that a segment's queries search, in order, and the block that their states (or embeddings) lie in."""
        if deep not in self._lines:
            first, counts = self._reach()
            position = places_from(first, counts)
            segment = np.repeat(np.arange(len(counts)), counts)
            rows, block = self._where(self._slots[segment], position), self.memory.hot.states
            if deep:
                rows = np.where(self._there(segment, position, rows), rows, -1)
            else:
                rows, items = self._distinct(rows)
                with torch.no_grad():
                    block = row_norm(self.items.embed(items)[1])
            self._lines[deep] = Lines(rows, np.concatenate([[0], np.cumsum(counts)]), first), block
        return self._lines[deep]

    def _there(self, segment: I64, position: I64, rows: I64) -> Bool:
        """Which rows of segments' users have a state, one that is not too old to be read."""
        there: Bool = position >= self.memory.hot.states_from[self._slots[segment]]
        if self.memory.ages.limited:
            facts = self.memory.hot.facts.reshape(-1)[rows]
            there &= self.memory.ages.young(facts, self._now[segment], self._last[segment], self._version)
        return there

    def _reach(self) -> tuple[I64, I64]:
        """First position and number of the rows that each segment's queries search together: (B,) each."""
        users = len(self.batch.users)
        first, end = np.full(users, np.iinfo(np.int64).max), np.zeros(users, np.int64)
        np.minimum.at(first, self.batch.segment, self.ranges.low)
        np.maximum.at(end, self.batch.segment, self.ranges.high)
        return np.minimum(first, end), np.maximum(end - first, 0)

    def _oldest(self, slot: I64) -> I64:
        """First position that is still in the ring."""
        oldest: I64 = np.maximum(self.memory.hot.head[slot] - self.memory.hot.capacity, 0)
        return oldest

    def _where(self, slot: I64, position: I64) -> I64:
        """Row of the arena."""
        capacity = self.memory.hot.capacity
        rows: I64 = slot * capacity + position % capacity
        return rows

    def _fact(self, name: str, rows: I64) -> np.ndarray:
        column = self.memory.hot.facts[name]
        return column.reshape(column.shape[0] * column.shape[1], *column.shape[2:])[rows]

    def _distinct(self, rows: I64) -> tuple[I64, Encoded]:
        """Numbers of the items of these rows (R,), and the features of each item."""
        ids, columns = self._fact("item", rows), self._fact("columns", rows)
        distinct = SlotMap(len(rows))
        number = distinct.insert(item_keys(ids, columns))
        sample = np.empty(len(distinct), np.int64)
        sample[number[::-1]] = np.arange(len(rows))[::-1]
        return number, self.items.encode(ids[sample], columns[sample])


def _numbers(found: Found) -> I64:
    """One number for each query and position."""
    numbers: I64 = (np.repeat(np.arange(len(found.at) - 1), np.diff(found.at)) << 40) + found.position
    return numbers
