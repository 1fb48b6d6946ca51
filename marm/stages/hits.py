"""Where the item that was received stood in the order of all items, counted as the stream goes by."""

from typing import Any

import numba as nb
import numpy as np

from marm.mix import GOLDEN, mix
from marm.types import F32, F64, I64, Bool

PARTS = ("last", "whole", "window")
"""The last fifth of the prepared log (and what came after), all of the stream, and since the last window was closed."""


def parts_of(late: Bool) -> tuple[Bool, Bool, Bool]:
    """Which events (P,) count in each part."""
    return late, np.ones_like(late), np.ones_like(late)


class Hits:
    """Hits and gains at a few depths of several orders, by part; a function of the stream, so it goes into the cut."""

    def __init__(self, orders: list[str], depths: list[int], last_from: int) -> None:
        """``last_from``: the event from which on the last fifth counts."""
        self.orders, self.depths, self._last_from = orders, np.array(depths), last_from
        self._hits = np.zeros((len(PARTS), len(orders), len(depths)))
        self._gains = np.zeros_like(self._hits)
        self._events = np.zeros((len(PARTS), 2), np.int64)

    def add(self, numbers: I64, new: Bool, ranks: I64) -> None:
        """Events (P,), whether their items were never seen before, and ranks of these (orders, P), 1 first, 0 not found."""
        for place, which in enumerate(parts_of(numbers >= self._last_from)):
            rank = ranks[:, which, None]
            hit = (rank > 0) & (rank <= self.depths)
            self._hits[place] += hit.sum(1)
            self._gains[place] += np.where(hit, 1 / np.log2(1 + np.maximum(rank, 1)), 0.0).sum(1)
            self._events[place] += [which.sum(), new[which].sum()]

    def summary(self, part: str, measure: str = "recall") -> dict[str, Any]:
        """Recall (or ndcg) of each order at each depth, over so many events; None before the first."""
        place = PARTS.index(part)
        events, new = self._events[place].tolist()
        sums: F64 = (self._gains if measure == "ndcg" else self._hits)[place]
        out: dict[str, Any] = {"events": events, "new_items": new / events if events else None}
        for order, row in zip(self.orders, sums.tolist(), strict=True):
            out[order] = {
                f"{measure}@{depth}": value / events if events else None
                for depth, value in zip(self.depths.tolist(), row, strict=True)
            }
        return out

    def close_window(self) -> None:
        """Begin the window anew."""
        for sums in (self._hits, self._gains, self._events):
            sums[PARTS.index("window")] = 0

    def state(self) -> dict[str, Any]:
        """For the cut."""
        return {"hits": self._hits.tolist(), "gains": self._gains.tolist(), "events": self._events.tolist()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` was taken."""
        self._hits, self._gains = np.array(state["hits"]), np.array(state["gains"])
        self._events = np.array(state["events"])


@nb.njit(cache=True, nogil=True)
def rank_of(scores: F32 | F64, target: int, hidden: Bool) -> int:
    """Rank of a target among items that are not hidden, 1 first, equal scores by place; 0 where it is hidden."""
    if hidden[target]:
        return 0
    own, rank = scores[target], 1
    for j in range(len(scores)):
        if not hidden[j] and (scores[j] > own or (scores[j] == own and j < target)):
            rank += 1
    return rank


@nb.njit(cache=True, nogil=True)
def sampled(numbers: I64, share: float, key: int) -> Bool:
    """Events chosen by their numbers: of all, this share."""
    out = np.empty(len(numbers), np.bool_)
    for i in range(len(numbers)):
        x = np.uint64(numbers[i]) * GOLDEN + np.uint64(key)
        out[i] = mix(x) < np.uint64(share * 18446744073709549568.0)
    return out
