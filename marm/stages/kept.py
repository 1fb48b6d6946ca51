"""How much of what ranking would have put first is kept, counted as the stream goes by."""

from typing import Any

import numpy as np

from marm.stages.hits import PARTS, parts_of
from marm.types import I64, Bool


class Kept:
    """Sums by part, order and depth of ranking's top; a function of the stream, so it goes into the cut."""

    def __init__(self, orders: list[str], tops: list[int], last_from: int) -> None:
        """``last_from``: the event from which on the last fifth counts."""
        self._orders, self._tops, self._last_from = orders, tops, last_from
        self._sums = np.zeros((len(PARTS), len(orders), len(tops)))
        self._events = np.zeros(len(PARTS), np.int64)
        self._candidates = np.zeros((len(PARTS), 2), np.int64)

    def add(self, numbers: I64, rank: I64, there: Bool, kept: dict[str, Bool]) -> None:
        """Events (P,): ranking's rank of each candidate (P, C), which there are, and what each order keeps of them."""
        for place, which in enumerate(parts_of(numbers >= self._last_from)):
            self._events[place] += which.sum()
            self._candidates[place] += [there[which].sum(), (there & kept[self._orders[0]])[which].sum()]
            for t, top in enumerate(self._tops):
                first = (rank <= top) & there
                most = np.maximum(first.sum(1), 1)
                for o, order in enumerate(self._orders):
                    self._sums[place, o, t] += ((first & kept[order]).sum(1) / most)[which].sum()

    def summary(self, part: str) -> dict[str, Any]:
        """Mean share of ranking's first that each order keeps, and how many candidates there were; None before the first."""
        place = PARTS.index(part)
        events = int(self._events[place])
        taken, given = (value / events if events else None for value in self._candidates[place].tolist())
        out: dict[str, Any] = {"events": events, "candidates": taken, "given": given}
        for order, row in zip(self._orders, self._sums[place].tolist(), strict=True):
            pairs = zip(self._tops, row, strict=True)
            out[order] = {f"kept_of_top_{top}": value / events if events else None for top, value in pairs}
        return out

    def close_window(self) -> None:
        """Begin the window anew."""
        for sums in (self._sums, self._events, self._candidates):
            sums[PARTS.index("window")] = 0

    def state(self) -> dict[str, Any]:
        """For the cut."""
        names = ("_sums", "_events", "_candidates")
        return {name.removeprefix("_"): getattr(self, name).tolist() for name in names}

    def load(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` was taken."""
        self._sums, self._events, self._candidates = (np.array(state[n]) for n in ("sums", "events", "candidates"))
