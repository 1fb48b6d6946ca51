"""Facts and states of users at the same positions: what memory brings in of a user."""

from typing import Protocol, runtime_checkable

import numpy as np

from marm.store.base import Facts, Store
from marm.types import I64, U8, U64, Bool

_Whole = tuple[Facts, U8, Bool]


@runtime_checkable
class AtOnce(Protocol):
    """What a store may offer beside its contract: both readings by one way there and back."""

    def read_both(self, users: U64, count: int, first: I64, counts: I64) -> tuple[Facts, U8, Bool]:
        """The newest ``count`` facts, and states at these positions, whatever the facts turn out to be."""
        ...


def read_both(store: Store, users: U64, count: int, first: I64, counts: I64) -> tuple[Facts, U8, Bool]:
    """Both readings of a store, at once where it offers that."""
    if isinstance(store, AtOnce):
        return store.read_both(users, count, first, counts)
    return store.read_facts(users, count), *store.read_states(users, first, counts)


def read_whole(store: Store, users: U64, count: int, width: int, ends: I64 | None = None) -> tuple[Facts, U8, Bool]:
    """The newest ``count`` facts, states at the same positions (R, width), and whether each is there (R,).

    ``ends`` (B,): where users' rings most likely end, 0 for nobody knows; a store that offers it is asked for all at once.
    Of users whose bytes are wrong, found by either reading, neither.
    """
    while True:
        damaged = len(store.damaged)
        if ends is not None and ends.any() and isinstance(store, AtOnce):
            found, states, there = _expected(store, users, count, ends)
        else:
            found = store.read_facts(users, count)
            if not found.next.any():
                return found, np.zeros((0, width), np.uint8), np.zeros(0, bool)
            states, there = store.read_states(users, found.first, found.counts)
        if len(store.damaged) == damaged:
            return found, states, there


def _expected(store: Store, users: U64, count: int, ends: I64) -> _Whole:
    """Both at once; states of users whose facts lie elsewhere than was expected are read again."""
    first = np.maximum(ends - min(count, store.layout.facts_kept), 0)
    found, states, there = read_both(store, users, count, first, ends - first)
    other = (found.first != first) | (found.counts != ends - first)
    if not other.any():
        return found, states, there
    late = other & (found.counts > 0)
    again = store.read_states(users[late], found.first[late], found.counts[late])
    row, kept = np.repeat(other, found.counts), np.repeat(~other, ends - first)
    return found, _dealt(row, states[kept], again[0]), _dealt(row, there[kept], again[1])


def _dealt(other: Bool, these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Rows of two arrays, of the second where ``other``."""
    out = np.empty((len(other), *these.shape[1:]), these.dtype)
    out[~other], out[other] = these, those
    return out
