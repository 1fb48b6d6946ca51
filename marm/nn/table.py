"""One table for all ids, of a fixed number of rows: what an id has is the sum of the two rows that it hashes to.

Stateless, so that ranks, restarts and new ids agree: two ids share what they have only if both probes collide. A row is an
embedding, learned by row-wise Adagrad (one accumulator a row; Duchi et al. 2011, as in DLRM), and a bias for each task,
learned as a running estimate is: by its gradient over the squares of all gradients so far. A step touches only the rows of
its pass.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from marm.mix import GOLDEN, mix
from marm.nn.shares import side_by_side
from marm.types import F32, I64, U64

FLOOR = 0.1
"""Added to a row's accumulator: without it a row's first step is as long for a stray gradient as for a real one."""

PRIOR = 10.0
"""Added to a bias's accumulator: so many squared gradients say that it is zero."""

CURVE = 0.25
"""The most that a loss bends for each query and row: what a step of biases counts with, so that none overshoots."""

MEMORY = 500.0
"""Most that a bias's accumulator counts: what is far in the past no longer holds it."""

BIAS = 20.0
"""Rate of biases, as a multiple of the table's."""


@dataclass(frozen=True)
class Bag:
    """Ids to sum for each of N outputs: output i's are ``keys[offsets[i]:offsets[i + 1]]``; key 0 is nothing."""

    keys: U64
    offsets: I64
    weights: F32
    """(E,) factor of each key."""


@dataclass(frozen=True)
class Part:
    """What a step learns from: the gradient (N, D + biases) of a bag's outputs, and how many queries use each (N,)."""

    bag: Bag
    gradient: Tensor
    asked: F32


def single(keys_NF: U64) -> Bag:
    """A bag of F ids for each of N outputs, all of weight one."""
    count, width = keys_NF.shape
    offsets = np.arange(count + 1) * width
    return Bag(np.ascontiguousarray(keys_NF).reshape(-1), offsets, np.ones(count * width, np.float32))


def mean(keys: U64, offsets: I64) -> Bag:
    """A ragged bag whose ids share a weight of one (tags)."""
    counts = np.diff(offsets)
    return Bag(keys, offsets, np.repeat((1.0 / np.maximum(counts, 1)).astype(np.float32), counts))


def place(bag: Bag, before: int, after: int) -> Bag:
    """The same bag among more outputs: this many empty ones before and after."""
    offsets = np.concatenate([np.zeros(before, np.int64), bag.offsets, np.full(after, bag.offsets[-1])])
    return Bag(bag.keys, offsets, bag.weights)


@nb.njit(cache=True, nogil=True, inline="always")
def _probe(key: np.uint64, probe: int, rows: int) -> np.int64:
    salt = GOLDEN if probe == 0 else np.uint64(0xD1B54A32D192ED03)
    return np.int64(mix(key ^ salt) % np.uint64(rows))


@nb.njit(cache=True, nogil=True)
def probes(keys: U64, rows: int) -> I64:
    """The two rows of each key: (E, 2)."""
    out = np.empty((len(keys), 2), np.int64)
    for i in range(len(keys)):
        for probe in range(2):
            out[i, probe] = _probe(keys[i], probe, rows)
    return out


@nb.njit(cache=True, nogil=True, fastmath=True)
def sum_bags(table: F32, at: I64, keys: U64, offsets: I64, weights: F32, out: F32) -> None:
    """Add to each output the rows ``at`` (E, 2) of its bag's keys."""
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            if keys[e] != 0:
                # Places without a sign, so that the loop vectorizes.
                one, other = np.uint64(at[e, 0]), np.uint64(at[e, 1])
                for d in range(np.uint64(table.shape[1])):
                    out[i, d] += weights[e] * (table[one, d] + table[other, d])


@nb.njit(cache=True, nogil=True, fastmath=True)
def _add_gradient(keys, offsets, weights, gradient, asked, rows, share, shares, place, touched, used, total, queries):  # type: ignore[no-untyped-def]
    """Add each output's gradient to those rows of this share that it was summed from; a row's place is -1 while untouched.

    ``asked``: how many queries use each output; ``queries``: of each row, by squared weight.
    """
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            if keys[e] == 0:
                continue
            for probe in range(2):
                row = _probe(keys[e], probe, rows)
                if row % shares != share:
                    continue
                if place[row] < 0:
                    place[row] = used
                    touched[used] = row
                    total[used] = 0
                    queries[used] = 0
                    used += 1
                at = place[row]
                queries[at] += asked[i] * weights[e] * weights[e]
                for d in range(gradient.shape[1]):
                    total[at, d] += weights[e] * gradient[i, d]
    return used


@nb.njit(cache=True, nogil=True, fastmath=True)
def step_rows(table, square, touched, total, bends, place, width, rate):  # type: ignore[no-untyped-def]
    """Each touched row's step by its gradient and ``bends`` (R,), how steep its biases' slopes may turn; places are freed."""
    for i in range(len(touched)):
        row = touched[i]
        place[row] = -1
        mean_square = np.float32(0.0)
        for d in range(width):
            mean_square += total[i, d] * total[i, d]
        square[row, 0] += mean_square / width
        if mean_square > 0:
            step = rate / np.sqrt(square[row, 0] + np.float32(FLOOR))
            for d in range(width):
                table[row, d] -= step * total[i, d]
        for b in range(1, square.shape[1]):
            slope = total[i, width + b - 1]
            square[row, b] = min(square[row, b] + slope * slope, np.float32(MEMORY))
            bend = square[row, b] + np.float32(PRIOR) + bends[i]
            table[row, width + b - 1] -= rate * np.float32(BIAS) * slope / bend


class HashTable:
    """Weights (rows, D + biases) and accumulators; no module: its gradient is sparse and its step is its own."""

    def __init__(
        self,
        rows: int,
        width: int,
        seed: int,
        device: torch.device,
        scale: float = 0.02,
        biases: int = 0,
        together: int = 4,
    ) -> None:
        """Embeddings begin at random by ``scale``, biases at zero. ``together``: rows whose biases add up to a logit."""
        drawn = self._drawn(rows, width, seed) * scale
        self.width, self.together = width, together
        self.weight = torch.cat([drawn, torch.zeros(len(drawn), biases)], 1).to(device)
        self.square = torch.zeros(len(drawn), 1 + biases, device=device)
        """Of the embedding, then of each bias."""
        self._place: I64 = np.full(rows, -1, np.int64)

    def __len__(self) -> int:
        return len(self._place)

    def beside(self, rows: int, width: int, seed: int, biases: int = 0) -> "HashTable":
        """Another one where this one lies."""
        return HashTable(rows, width, seed, self.weight.device, biases=biases)

    def at_hand(self, bags: list[Bag]) -> "HashTable":
        """To look up these bags' keys in, without asking anybody, until the next step."""
        del bags
        return self

    def _drawn(self, rows: int, width: int, seed: int) -> Tensor:
        return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))

    def lookup(self, bags: list[Bag], outputs: int) -> Tensor:
        """The sum of the bags for each output: (N, D + biases), without gradient."""
        out = torch.zeros(outputs, self.weight.shape[1], device=self.weight.device)
        for bag in bags:
            if self.weight.is_cuda:
                _lookup_torch(self.weight, bag, out)
            else:
                at = probes(bag.keys, len(self.weight))
                sum_bags(self.weight.numpy(), at, bag.keys, bag.offsets, bag.weights, out.numpy())
        return out

    def learn(self, parts: list[Part], rate: float, shares: int = 1) -> None:
        """One step from parts: each row is updated once.

        ``shares``: rows are dealt out to so many threads; the result is the same for any number.
        """
        if self.weight.is_cuda:
            _learn_torch(self.weight, self.square, parts, self.width, self.together, rate)
            return
        arrays = [(p.bag.keys, p.bag.offsets, p.bag.weights, p.gradient.numpy(), p.asked) for p in parts]
        side_by_side([partial(self._learn_share, arrays, rate, share, shares) for share in range(shares)])

    def _learn_share(self, parts: list[tuple[U64, I64, F32, F32, F32]], rate: float, share: int, shares: int) -> None:
        rows, width = self.weight.shape
        most = min(2 * sum(len(keys) for keys, *_ in parts), -(-rows // shares))
        touched, total = np.empty(most, np.int64), np.empty((most, width), np.float32)
        queries, used = np.empty(most, np.float32), 0
        for part in parts:
            used = _add_gradient(*part, rows, share, shares, self._place, touched, used, total, queries)
        weight, square = self.weight.numpy(), self.square.numpy()
        bends = queries[:used] * np.float32(CURVE * self.together)
        step_rows(weight, square, touched[:used], total, bends, self._place, self.width, np.float32(rate))

    def learned(self) -> int:
        """How many rows were ever learned."""
        return len(self.touched())

    def touched(self) -> Tensor:
        """Rows ever learned: what a cut has to keep, since all others are as the seed made them."""
        return torch.nonzero((self.square > 0).any(1)).flatten()

    def state(self) -> dict[str, Tensor]:
        """The rows ever learned."""
        rows = self.touched()
        return {"rows": rows.cpu(), "weight": self.weight[rows].cpu(), "square": self.square[rows].cpu()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Lay learned rows over a fresh table of the same seed. Errors: ``RuntimeError``, ``IndexError`` for another shape."""
        rows = state["rows"].to(self.weight.device)
        self.weight[rows] = state["weight"].to(self.weight.device)
        self.square[rows] = state["square"].to(self.weight.device)


def _entries(bag: Bag, rows: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Output, weight and both table rows of each key that is one."""
    real = bag.keys != 0
    output = np.repeat(np.arange(len(bag.offsets) - 1), np.diff(bag.offsets))[real]
    arrays: list[Any] = [output, bag.weights[real], probes(bag.keys[real], rows)]
    output_t, weight, at = (torch.from_numpy(a).to(device) for a in arrays)
    return output_t, weight, at


def _lookup_torch(table: Tensor, bag: Bag, out: Tensor) -> None:
    output, weight, at = _entries(bag, len(table), table.device)
    out.index_add_(0, output, weight[:, None] * (table[at[:, 0]] + table[at[:, 1]]))


def _learn_torch(table: Tensor, square: Tensor, parts: list[Part], width: int, together: int, rate: float) -> None:
    entries = [(*_entries(p.bag, len(table), table.device), p) for p in parts]
    at = torch.cat([at.T.reshape(-1) for _, _, at, _ in entries])
    grad = torch.cat([(weight[:, None] * p.gradient[output]).repeat(2, 1) for output, weight, _, p in entries])
    asked = [torch.from_numpy(p.asked).to(table.device)[output] * w.square() for output, w, _, p in entries]
    rows, place = torch.unique(at, return_inverse=True)
    total = torch.zeros(len(rows), table.shape[1], device=table.device).index_add_(0, place, grad)
    queries = torch.zeros(len(rows), 1, device=table.device)
    queries.index_add_(0, place, torch.cat([one.repeat(2) for one in asked])[:, None])
    steep = torch.cat([total[:, :width].square().mean(1, keepdim=True), total[:, width:].square()], 1)
    held = square[rows] + steep
    held[:, 1:].clamp_(max=MEMORY)
    square[rows] = held
    table[rows, :width] -= rate * (held[:, :1] + FLOOR).rsqrt() * total[:, :width]
    table[rows, width:] -= rate * BIAS * total[:, width:] / (held[:, 1:] + PRIOR + CURVE * together * queries)
