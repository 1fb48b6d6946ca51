"""The contract of a store: for each user an append-only ring of fixed-width rows, in two columns.

    positions of one user's events:   0 1 2 3 4 5 6 7 8 9 | next
    facts  (kept: last F):                . # # # # # # # |     item, time, outcome, version: tens of bytes each
    states (kept: last S):                    . . # # # # |     depths x width numbers, coded
                                                  ^ states_from: rows below it have no state (never made, or dropped)

A user never seen has an empty ring (next = 0): an ordinary answer, not an error. Appending a position that is already
there replaces it, so that a replay changes nothing. A store may forget states, or whole users; it never returns another
user's row, nor one whose bytes are not those that were appended: then its user is named in ``damaged``, and reads as one
never seen. It knows bytes and positions, no tensors and no model. The first eight bytes of a facts row are its time (int64,
microseconds), not falling along positions: all that a store reads of a row.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from marm.types import I64, U8, U64, Bool


@dataclass(frozen=True)
class Layout:
    """Widths and depths of the rings of a store, and the model that made them."""

    facts_bytes: int
    state_bytes: int
    facts_kept: int
    states_kept: int
    model: str
    """What made the rows (layers, width, codec, features): a store made for another one is refused."""


@dataclass(frozen=True)
class Rows:
    """Rows to append: user b's are ``[sum(counts[:b]), sum(counts[:b + 1]))`` of the flat columns."""

    users: U64
    """(B,), each user once."""
    first: I64
    """(B,) position of the user's first row; never beyond the next position, unless the rows fill a ring of facts.

    Of a user that servers have let go by themselves, rows that do not begin at 0 are passed over: ``Store.gone``."""
    counts: I64
    """(B,) rows of the user; 0 only changes ``states_from`` and ``seen``."""
    facts: U8
    """(R, facts_bytes)."""
    states: U8
    """(R, state_bytes)."""
    states_from: I64
    """(B,) rows at positions below have no state; never falls."""
    seen: I64
    """(B,) number of the user's last event in the stream: the order of eviction."""
    forgotten: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    """(F,) users to forget wholly before the rows are appended."""

    def of(self, which: Bool) -> "Rows":
        """The rows of these users alone."""
        row = np.repeat(which, self.counts)
        columns = {name: getattr(self, name)[which] for name in ("users", "first", "counts", "states_from", "seen")}
        return Rows(**columns, facts=self.facts[row], states=self.states[row], forgotten=self.forgotten)


@dataclass(frozen=True)
class Facts:
    """The newest facts asked for, flat, in rising positions."""

    next: I64
    """(B,) the user's next free position; 0 for a user never seen."""
    states_from: I64
    """(B,)."""
    first: I64
    """(B,) position of the first row returned."""
    counts: I64
    """(B,) rows returned."""
    facts: U8
    """(R, facts_bytes)."""


@dataclass(frozen=True)
class Holding:
    """Who is in a store: for each user the next position, where states begin, and when last seen."""

    users: U64
    next: I64
    states_from: I64
    seen: I64


@dataclass(frozen=True)
class StoreStats:
    """What a store holds."""

    users: int
    rows: int
    """Rows with states."""
    facts_rows: int
    bytes: int
    """Of states and facts; what the disk spends may be more."""


@dataclass(frozen=True)
class Space:
    """What a store takes where it lies, in bytes."""

    used: int
    """Of memory or the disk, for rows, keys and what finds them; servers tell it of all that lies there, other stores too."""
    taken: int
    """What the machine gave for that: the arena's blocks, LMDB's file, the resident memory of servers."""
    fragmentation: float
    """Bytes taken for one that is used, of servers the worst one's."""


class Store(Protocol):
    """Rings of many users; reads and appends are batches."""

    layout: Layout
    durable: bool
    """False: gone with the process, so a cut must carry all of it."""

    generation: str
    """Changes when another store has taken the place of this one; empty where that cannot be."""

    def serving(self) -> str:
        """Generation that serves now: another one than its own after another store took over."""
        ...

    @property
    def damaged(self) -> set[int]:
        """Users whose bytes were found wrong since it was opened, and that were not forgotten since."""
        ...

    @property
    def gone(self) -> set[int]:
        """Users of whom the last append kept nothing, since servers had let them go by themselves; they begin anew.

        Emptied by who has seen to it, or by the next append."""
        ...

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        ...

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions, flat (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        ...

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay)."""
        ...

    def forget(self, users: U64) -> None:
        """Forget users wholly, now; those that are not there are no mistake."""
        ...

    def last_cut(self) -> int:
        """Number of the last append; -1 before the first."""
        ...

    def holding(self) -> Holding:
        """Every user in the store."""
        ...

    def stats(self) -> StoreStats:
        """Users, rows and bytes."""
        ...

    def space(self) -> Space:
        """Bytes where it lies: a short look, that does not read what is stored; of servers, at each primary."""
        ...

    def clear(self) -> None:
        """Forget every user; the next cut number may be any."""
        ...

    def close(self) -> None:
        """Give back files and memory; the store is not used after."""
        ...


def space_of(used: int, taken: int) -> Space:
    """The space of a store in one piece; where nothing is used, nothing is lost."""
    return Space(used, taken, taken / used if used else 1.0)


def offsets(counts: I64) -> I64:
    """Where each user's rows begin in a flat column, and the end: (B + 1,)."""
    out = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=out[1:])
    return out
