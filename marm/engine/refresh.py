"""Old states made anew on a budget: a step's users are those whose rows are read, and the oldest states go first.

A function of the stream alone: whom a step brings, the versions of their rows, and what is left of the budget.
"""

import numpy as np
import torch

from marm.engine.engine import Engine
from marm.engine.fresh import fresh_states, newest_of, rows_needed
from marm.nn.dense import steady_rows
from marm.types import I64, U64


class Refresher:
    """Spends ``rows`` a step; what a step leaves over is saved up to a whole ring, so that any user's turn comes."""

    def __init__(self, engine: Engine, rows: int) -> None:
        self._engine, self._rows = engine, rows
        self.saved = 0
        """Rows left over; it goes into the cut."""
        self.made = 0

    def refresh(self, users: U64, version: int) -> None:
        """Make states of admitted users anew, by the weights at hand, which are of this version."""
        if not self._rows:
            return
        memory = self._engine.memory
        self.saved = min(self.saved + self._rows, max(self._rows, memory.shape.capacity))
        rows, oldest = memory.oldest(users)
        order = np.lexsort((users, oldest))
        order = order[(rows[order] > 0) & (oldest[order] < version)]
        chosen = order[np.cumsum(rows[order]) <= self.saved]
        if not len(chosen):
            return
        users, rows = users[chosen], rows[chosen]
        counts, facts = memory.past(users, rows_needed(self._engine, rows))
        whole = counts >= rows
        if whole.any():
            self._renew(users[whole], rows[whole], counts[whole], facts[np.repeat(whole, counts)], version)

    def _renew(self, users: U64, rows: I64, counts: I64, facts: np.ndarray, version: int) -> None:
        with steady_rows():
            made = fresh_states(self._engine, counts, facts)
        newest = newest_of(counts, rows)
        states = made.states[torch.from_numpy(newest).to(made.states.device)]
        self._engine.memory.renew(users, rows, states, version, made.keys[newest])
        self.saved -= int(rows.sum())
        self.made += int(rows.sum())
