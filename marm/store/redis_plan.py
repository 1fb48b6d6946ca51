"""What an append does to each user's hash, as commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marm.store.base import Layout, Rows
from marm.store.redis_rows import CHUNK, FROM, NEXT, SEEN, Pieces, dealt, sealed_metas
from marm.store.redis_scripts import APPEND_SHA
from marm.store.rings import Bounds, starts
from marm.store.sums import seal
from marm.types import I64, U8, Bool

_COLUMNS = ("f", "s")


@dataclass(frozen=True)
class Plan:
    """For each user its new meta, the fields that go, and the rows that come."""

    metas: list[bytes]
    anew: list[bool]
    """Who is forgotten first."""
    gone: list[list[str]]
    laid: list[list[Any]]
    """Field, byte where the rows begin (-1: they are all of it) and rows, one after the other."""
    sizes: I64
    """Bytes that come."""

    @staticmethod
    def of(rows: Rows, meta: I64, there: Bool, anew: Bool, cut: int, layout: Layout) -> "Plan":
        """The plan of rows for users with these metas, zero for those not there. Errors: ValueError as the contract has it."""
        old = Bounds(meta[:, NEXT].copy(), meta[:, FROM].copy())
        new = old.after(rows, layout)
        was = np.where(there[:, None], meta[:, NEXT : SEEN + 1], [-1, 0, 0])
        now = np.stack([new.next, new.states_from, rows.seen, np.full(len(rows.users), cut)], axis=1)
        gone: list[list[str]] = [[] for _ in rows.users]
        laid: list[list[Any]] = [[] for _ in rows.users]
        for column, (data, old_floor, floor) in enumerate(
            (
                (rows.facts, old.facts_floor(layout), new.facts_floor(layout)),
                (rows.states, old.states_floor(layout), new.states_floor(layout)),
            )
        ):
            if data.shape[1]:
                _let_go(gone, _COLUMNS[column], old_floor, np.minimum(floor, old.next + CHUNK - 1))
                _lay(laid, column, rows, np.maximum(rows.first, floor), data)
        sizes = rows.counts * (layout.facts_bytes + layout.state_bytes)
        return Plan(sealed_metas(rows.users, np.concatenate([now, was], axis=1)), anew.tolist(), gone, laid, sizes)

    def commands(self, keys: list[bytes], some: slice, ttl: int) -> list[tuple[Any, ...]]:
        """One command for each of these users; ``ttl``: milliseconds that it is kept from then on, 0: for ever."""
        users = zip(keys, self.metas[some], self.anew[some], self.gone[some], self.laid[some], strict=True)
        return [
            ("EVALSHA", APPEND_SHA, 1, key, meta, int(anew), ttl, len(gone), *gone, *laid)
            for key, meta, anew, gone, laid in users
        ]


def _let_go(gone: list[list[str]], column: str, old_floor: I64, floor: I64) -> None:
    """Add the chunks that lie wholly below the new floor."""
    pieces = Pieces.of(old_floor // CHUNK * CHUNK, floor // CHUNK * CHUNK)
    for fields, more in zip(gone, dealt(pieces.fields(column), pieces.counts), strict=True):
        fields += more


def _lay(laid: list[list[Any]], column: int, rows: Rows, low: I64, data: U8) -> None:
    """Add each user's rows from ``low`` on, sealed, chunk by chunk."""
    sealed = seal(rows.users, column, rows.first, rows.counts, data)
    upto, width, flat = rows.first + rows.counts, sealed.shape[1], sealed.reshape(-1).data
    pieces = Pieces.of(low, upto)
    begin, end = pieces.within(low, upto)
    at = (starts(rows.counts) - rows.first)[pieces.owner] + begin
    inside = np.where(end - begin == CHUNK, -1, (begin - pieces.chunk * CHUNK) * width)
    where = (inside.tolist(), (at * width).tolist(), ((at + end - begin) * width).tolist())
    triples = [
        (field, place, bytes(flat[lo:hi]))
        for field, place, lo, hi in zip(pieces.fields(_COLUMNS[column]), *where, strict=True)
    ]
    for fields, more in zip(laid, dealt(triples, pieces.counts), strict=True):
        fields += _flat(more)


def _flat(triples: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [part for triple in triples for part in triple]
