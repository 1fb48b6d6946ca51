"""The exact search: queries times remembered states, decoded a row or a block of rows at a time."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor

from marm.memory.search import Found, Ranges, largest
from marm.nn.codec import codec_of, decode_row
from marm.nn.machine import apart
from marm.types import I64

_AT_ONCE = 1 << 22
"""Scores held at a time."""

_TILE = 2048
"""Rows decoded at a time."""


class Lines(NamedTuple):
    """The rows that each segment's queries search, one after the other."""

    rows: I64
    """(R,) where each row's state lies in a block; -1: it has none, and is not found."""
    at: I64
    """(B + 1,) first of each segment."""
    first: I64
    """(B,) its position."""


def exact_alone(
    block: Tensor, column: int, lines: Lines, query_QD: Tensor, segment: I64, ranges: Ranges, most: int
) -> Found:
    """The ``most`` rows of the highest products; a score hangs on nothing but its query and its row, bit for bit."""
    begin = lines.at[segment] + ranges.low - lines.first[segment]
    counts = ranges.high - ranges.low
    query, bits, found = query_QD.numpy(), block.view(codec_of(block).bits).numpy(), []
    for part in _portions(counts):
        first = np.concatenate([[0], np.cumsum(counts[part])])
        score = _row_scores(bits, column, lines.rows, query[part], begin[part], first)
        found.append(largest(score, first, Ranges(*(bound[part] for bound in ranges)), most))
    return _joined(found)


def exact_together(
    block: Tensor, column: int, lines: Lines, query_QD: Tensor, segment: I64, ranges: Ranges, most: int
) -> Found:
    """The same by one product for each segment, where many queries share a history; segments stand in order."""
    bounds, found = np.searchsorted(segment, np.arange(len(lines.first) + 1)), []
    for b, (low, high) in enumerate(pairwise(bounds.tolist())):
        rows = lines.rows[lines.at[b] : lines.at[b + 1]]
        # Equal rows, such as one item's twice, must score equal, which a product does not promise.
        distinct, which = np.unique(rows, return_inverse=True)
        repeats = len(distinct) < len(rows)
        for part in _portions(np.full(high - low, max(len(rows), 1))):
            queries = slice(low + part.start, low + part.stop)
            score_QR = _products(query_QD[queries], block, column, distinct if repeats else rows)
            score_QR = score_QR.take(which, 1) if repeats else score_QR
            mine = Ranges(*(bound[queries] for bound in ranges))
            first = np.arange(len(score_QR)) * len(rows) + mine.low - lines.first[b]
            found.append(largest(score_QR.reshape(-1), first, mine, most))
    return _joined(found)


def _products(query_QD: Tensor, block: Tensor, column: int, rows: I64) -> np.ndarray:
    codec = codec_of(block)
    columns = slice(column, column + codec.columns(query_QD.shape[1]))
    out = np.empty((len(query_QD), len(rows)), np.float32)
    for low in range(0, len(rows), _TILE):
        at = torch.from_numpy(np.maximum(rows[low : low + _TILE], 0))
        states = codec.decode(block[at, columns])
        torch.mm(query_QD, states.T, out=torch.from_numpy(out)[:, low : low + _TILE])
    out[:, rows < 0] = -np.inf
    return out


def _portions(counts: I64) -> Iterator[slice]:
    """Runs of queries whose rows, or one query's alone, are no more than can be held at once."""
    ends, low = np.cumsum(counts), 0
    while low < len(counts):
        before = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        yield slice(low, high)
        low = high


def _joined(found: list[Found]) -> Found:
    counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.at) for part in found)])
    return Found(np.cumsum(counts), np.concatenate([np.zeros(0, np.int64), *(part.position for part in found)]))


@nb.njit(cache=True, nogil=True, fastmath=True)
def _row_scores(block, column, rows, query, begin, first):  # type: ignore[no-untyped-def]
    out = np.empty(first[-1], np.float32)
    state = np.empty(query.shape[1], np.float32)
    for k in range(len(begin)):
        for at in range(first[k], first[k + 1]):
            row = rows[begin[k] + at - first[k]]
            if row < 0:
                out[at] = -np.inf
            else:
                decode_row(block, row, column, state)
                out[at] = _product(state, query[k])
    return out


@nb.njit(cache=True, nogil=True, fastmath=True)
def _product(one, other):  # type: ignore[no-untyped-def]
    apart()
    total = np.float32(0.0)
    for d in range(len(one)):
        total += one[d] * other[d]
    return total
