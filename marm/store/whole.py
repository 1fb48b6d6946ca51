"""Facts and states of users at the same positions: what memory brings in of a user."""

import numpy as np

from marm.store.base import Facts, Store
from marm.types import U8, U64, Bool


def read_whole(store: Store, users: U64, count: int, width: int) -> tuple[Facts, U8, Bool]:
    """The newest ``count`` facts, states at the same positions (R, width), and whether each is there (R,).

    Of users whose bytes are wrong, found by either reading, neither.
    """
    while True:
        damaged = len(store.damaged)
        found = store.read_facts(users, count)
        if not found.next.any():
            return found, np.zeros((0, width), np.uint8), np.zeros(0, bool)
        states, there = store.read_states(users, found.first, found.counts)
        if len(store.damaged) == damaged:
            return found, states, there
