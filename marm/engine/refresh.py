"""Old states made anew on a budget: a step's users are those whose rows are read, and the oldest states go first.

A function of the stream alone: whom a step brings, the versions of their rows, and what is left of the budget. On many ranks
all choose together, and each makes anew what is its own.
"""

import numpy as np
import torch

from marm.engine.batch import item_keys
from marm.engine.engine import Engine
from marm.engine.fresh import fresh_states, newest_of, rows_needed
from marm.nn.dense import steady_rows
from marm.ranks import on_all, own
from marm.types import I64, U64


class Refresher:
    """Spends ``rows`` a step; what a step leaves over is saved up to a whole ring, so that any user's turn comes."""

    def __init__(self, engine: Engine, rows: int) -> None:
        self._engine, self._rows = engine, rows
        self.saved = 0
        """Rows left over; it goes into the cut."""
        self.made = 0

    def refresh(self, users: U64, version: int) -> None:
        """Make states of this rank's admitted users anew, by the weights at hand, which are of this version."""
        if not self._rows:
            return
        memory, group = self._engine.memory, self._engine.group
        self.saved = min(self.saved + self._rows, max(self._rows, memory.shape.capacity))
        users, rows, oldest = on_all(group, [users, *memory.oldest(users)])
        order = np.lexsort((users, oldest))
        order = order[(rows[order] > 0) & (oldest[order] < version)]
        chosen = order[np.cumsum(rows[order]) <= self.saved]
        if not len(chosen):
            return
        mine = chosen[own(group, users[chosen])]
        (made,) = group.total(self._renewed(users[mine], rows[mine], version))
        self.saved -= made
        self.made += made

    def _renewed(self, users: U64, rows: I64, version: int) -> int:
        """How many states of these users were made anew: of those whose facts are all there."""
        memory = self._engine.memory
        counts, facts = memory.past(users, rows_needed(self._engine, rows))
        whole = counts >= rows
        users, rows, counts, facts = users[whole], rows[whole], counts[whole], facts[np.repeat(whole, counts)]
        _, one_of_each = np.unique(item_keys(facts["item"], facts["columns"]), return_index=True)
        engine = self._engine.at_hand(facts["item"][one_of_each], facts["columns"][one_of_each])
        if len(users):
            with steady_rows():
                made = fresh_states(engine, counts, facts)
            newest = newest_of(counts, rows)
            states = made.states[torch.from_numpy(newest).to(made.states.device)]
            memory.renew(users, rows, states, version, made.keys[newest])
        return int(rows.sum())
