"""The table over many ranks: row ``r`` lies on rank ``r % ranks`` and is learned there, from what all ranks ask of it.

A pass fetches each row that it needs once, sums its bags from these, and sends each row's gradient back to where the row
lies. Its sums are those of one table, bit for bit; its steps but for the order in which gradients are added.
"""

import numba as nb
import numpy as np
import torch
from torch import Tensor

from marm.nn.table import CURVE, Bag, HashTable, Part, probes, step_rows, sum_bags
from marm.ranks import Group
from marm.types import F32, I64, U64

_AT_ONCE = 1 << 20
"""Rows drawn at a time: a multiple of 16, by which a longer drawing begins with the same numbers."""


class ShardedTable(HashTable):
    """This rank's rows of a table, and the way to all others; every rank looks up and learns when one does, on the CPU."""

    def __init__(
        self, rows: int, width: int, seed: int, group: Group, scale: float = 0.02, biases: int = 0, together: int = 4
    ) -> None:
        """As one table of that many rows is made."""
        self._group = group
        super().__init__(rows, width, seed, torch.device("cpu"), scale, biases, together)

    def beside(self, rows: int, width: int, seed: int, biases: int = 0) -> HashTable:
        """Another one over the same ranks."""
        return ShardedTable(rows, width, seed, self._group, biases=biases)

    def at_hand(self, bags: list[Bag]) -> HashTable:
        """Copies of these bags' rows."""
        rows = self._numbered(bags)[1]
        return _AtHand(self, rows, self._fetched(rows))

    def _drawn(self, rows: int, width: int, seed: int) -> Tensor:
        """This rank's share of what one table draws, drawn piece by piece so that nobody holds it all."""
        generator, pieces = torch.Generator().manual_seed(seed), []
        for begin in range(0, rows, _AT_ONCE):
            # The last piece takes a short rest along: fewer than 16 numbers are drawn in another way.
            count = rows - begin if rows - begin < 2 * _AT_ONCE else _AT_ONCE
            first = (self._group.rank - begin) % self._group.size
            pieces.append(torch.randn(count, width, generator=generator)[first :: self._group.size].clone())
            if begin + count == rows:
                break
        return torch.cat(pieces)

    def lookup(self, bags: list[Bag], outputs: int) -> Tensor:
        """The sum of the bags for each output: (N, D + biases), without gradient."""
        places, rows = self._numbered(bags)
        table, out = self._fetched(rows), torch.zeros(outputs, self.weight.shape[1])
        for bag, at in zip(bags, places, strict=True):
            sum_bags(table, at, bag.keys, bag.offsets, bag.weights, out.numpy())
        return out

    def learn(self, parts: list[Part], rate: float, shares: int = 1) -> None:
        """One step from the parts of all ranks: each row is updated once, where it lies."""
        places, rows = self._numbered([part.bag for part in parts])
        total = np.zeros((len(rows), self.weight.shape[1]), np.float32)
        queries = np.zeros(len(rows), np.float32)
        for part, at in zip(parts, places, strict=True):
            bag = part.bag
            _add_up(at, bag.keys, bag.offsets, bag.weights, part.gradient.numpy(), part.asked, total, queries)
        order, counts = self._dealt(rows)
        (mine, totals, asked), _ = self._group.exchange([rows[order], total[order], queries[order]], counts)
        at, touched = _number((mine // self._group.size)[:, None], self._place)
        total, queries = _joined(at[:, 0], totals, asked, len(touched))
        bends = queries * np.float32(CURVE * self.together)
        weight, square = self.weight.numpy(), self.square.numpy()
        step_rows(weight, square, touched, total, bends, self._place, self.width, np.float32(rate))

    def _numbered(self, bags: list[Bag]) -> tuple[list[I64], I64]:
        """For each bag the places (E, 2) of its keys' rows among the distinct rows of all bags, and these rows."""
        keys = np.concatenate([np.zeros(0, np.uint64), *(bag.keys for bag in bags)])
        at, rows = _number(_without_nothing(keys, probes(keys, len(self))), self._place)
        self._place[rows] = -1
        ends = np.cumsum([len(bag.keys) for bag in bags])
        return [at[end - len(bag.keys) : end] for bag, end in zip(bags, ends.tolist(), strict=True)], rows

    def _dealt(self, rows: I64) -> tuple[I64, I64]:
        """Rows in order of the ranks that they lie on, and how many lie on each."""
        rank = rows % self._group.size
        return np.argsort(rank, kind="stable"), np.bincount(rank, minlength=self._group.size).astype(np.int64)

    def _fetched(self, rows: I64) -> F32:
        """Values of rows, wherever they lie: (R, D + biases)."""
        order, counts = self._dealt(rows)
        (asked,), come = self._group.exchange([rows[order]], counts)
        (values,), _ = self._group.exchange([self.weight.numpy()[asked // self._group.size]], come, counts)
        out = np.empty_like(values)
        out[order] = values
        return out

    def learned(self) -> int:
        """How many rows were ever learned, on all ranks."""
        return self._group.total(len(self.touched()))[0]

    def state(self) -> dict[str, Tensor]:
        """The rows ever learned by all ranks, as one table has them, on rank 0; none elsewhere."""
        own = self.touched()
        columns = self._group.gather(
            [(own * self._group.size + self._group.rank).numpy(), self.weight[own].numpy(), self.square[own].numpy()]
        )
        order = np.argsort(columns[0])
        names = ("rows", "weight", "square")
        return {name: torch.from_numpy(column[order]) for name, column in zip(names, columns, strict=True)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Lay those of the learned rows that lie here over a fresh table of the same seed."""
        mine = state["rows"] % self._group.size == self._group.rank
        own = {name: tensor[mine] for name, tensor in state.items()}
        super().load({**own, "rows": own["rows"] // self._group.size})


class _AtHand(HashTable):
    """Some rows of a sharded table, only to look up in."""

    def __init__(self, table: ShardedTable, rows: I64, values: F32) -> None:
        order = np.argsort(rows)
        self.width, self.together, self._size, self._rows = table.width, table.together, len(table), rows[order]
        self.weight = torch.from_numpy(values[order])

    def __len__(self) -> int:
        return self._size

    def lookup(self, bags: list[Bag], outputs: int) -> Tensor:
        """The sum of the bags for each output: (N, D + biases), without gradient."""
        out = torch.zeros(outputs, self.weight.shape[1])
        for bag in bags:
            at = np.searchsorted(self._rows, probes(bag.keys, len(self)))
            sum_bags(self.weight.numpy(), at, bag.keys, bag.offsets, bag.weights, out.numpy())
        return out


@nb.njit(cache=True, nogil=True)
def _number(rows: I64, place: I64) -> tuple[I64, I64]:
    """Number distinct rows in order of appearance: each one's number (E, P) and the rows; -1 is no row.

    Leaves the numbers in ``place``, whose entries of these rows must be -1.
    """
    at, distinct, used = np.empty_like(rows), np.empty(rows.size, np.int64), 0
    for i in range(len(rows)):
        for probe in range(rows.shape[1]):
            row = rows[i, probe]
            if row < 0:
                at[i, probe] = -1
                continue
            if place[row] < 0:
                place[row] = used
                distinct[used] = row
                used += 1
            at[i, probe] = place[row]
    return at, distinct[:used].copy()


def _without_nothing(keys: U64, at: I64) -> I64:
    """Rows of keys, -1 where the key is nothing."""
    at[keys == 0] = -1
    return at


@nb.njit(cache=True, nogil=True, fastmath=True)
def _add_up(at, keys, offsets, weights, gradient, asked, total, queries):  # type: ignore[no-untyped-def]
    """Add each output's gradient, and by squared weight how many queries use it, to the rows that it was summed from."""
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            if keys[e] == 0:
                continue
            for probe in range(2):
                row = at[e, probe]
                queries[row] += asked[i] * weights[e] * weights[e]
                for d in range(gradient.shape[1]):
                    total[row, d] += weights[e] * gradient[i, d]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _joined(at, totals, asked, rows):  # type: ignore[no-untyped-def]
    """Sums of what came for the same row, in the order in which it came."""
    total, queries = np.zeros((rows, totals.shape[1]), np.float32), np.zeros(rows, np.float32)
    for i in range(len(at)):
        queries[at[i]] += asked[i]
        for d in range(totals.shape[1]):
            total[at[i], d] += totals[i, d]
    return total, queries
