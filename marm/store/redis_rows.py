"""What a user's hash in Redis holds, and how rows come into its fields and out of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from marm.store.chunks import slices
from marm.store.rings import starts
from marm.store.sums import seal, sealed_width, unseal
from marm.types import I64, U8, U64, Bool

CHUNK = 62
"""Rows of a field. Sums and Redis's own header make 64 rows of 2**k bytes a little more than 2**(k + 6), for which its
allocator takes a quarter more."""

_USERS = 2
_META_BYTES = 7 * 8
NEXT, FROM, SEEN, CUT, WAS_NEXT = range(5)
"""Columns of a user's meta: its ring, the cut that made it so, and the ring as it was before (``WAS_NEXT`` -1: not there)."""


@dataclass(frozen=True)
class Pieces:
    """Runs of positions of users, cut at chunk borders."""

    counts: I64
    """(B,) pieces of each user."""
    owner: I64
    """(P,)."""
    chunk: I64
    """(P,)."""

    @staticmethod
    def of(first: I64, upto: I64) -> "Pieces":
        """Positions [first, upto) of each user, which may be none."""
        low = first // CHUNK
        counts = np.where(upto > first, (upto - 1) // CHUNK - low + 1, 0)
        owner = np.repeat(np.arange(len(first)), counts)
        return Pieces(counts, owner, low[owner] + np.arange(len(owner)) - starts(counts)[owner])

    def fields(self, column: str) -> list[str]:
        """Name of each piece's field."""
        return [f"{column}{chunk}" for chunk in self.chunk.tolist()]

    def within(self, first: I64, upto: I64) -> tuple[I64, I64]:
        """First and end position of each piece, no wider than its user's [first, upto)."""
        begin = np.maximum(self.chunk * CHUNK, first[self.owner])
        return begin, np.maximum(begin, np.minimum(self.chunk * CHUNK + CHUNK, upto[self.owner]))


def dealt(flat: Sequence[Any], counts: I64) -> Iterator[Sequence[Any]]:
    """A flat sequence in runs, one for each user."""
    at = 0
    for count in counts.tolist():
        yield flat[at : at + count]
        at += count


def lay_out(chunks: list[bytes | None], pieces: Pieces, low: I64, upto: I64, row: I64, sealed: U8) -> None:
    """Copy what chunks hold of each user's [low, upto) to ``row`` on; what is not there is left as it is."""
    width, flat = sealed.shape[1], sealed.reshape(-1).data
    begin, end = pieces.within(low, upto)
    to = row[pieces.owner] + begin - low[pieces.owner]
    where = np.stack([to, begin - pieces.chunk * CHUNK, end - begin]) * width
    for chunk, at, inside, size in zip(chunks, *where.tolist(), strict=True):
        if chunk is not None and size:
            part = memoryview(chunk)[inside : inside + size]
            flat[at : at + len(part)] = part


def sealed_metas(users: U64, meta: I64) -> list[bytes]:
    """Metas (B, 7) as bytes."""
    zero, one = np.zeros(len(users), np.int64), np.ones(len(users), np.int64)
    rows = np.ascontiguousarray(meta).view(np.uint8)
    return slices(seal(users, _USERS, zero, one, rows), sealed_width(_META_BYTES))


def metas_of(users: U64, raw: Sequence[bytes | None]) -> tuple[I64, Bool, Bool]:
    """Metas (B, 7), which users have one, and whose is wrong; zero for those who have none or a wrong one."""
    size = sealed_width(_META_BYTES)
    there = np.array([one is not None for one in raw], bool)
    fits = np.array([one is not None and len(one) == size for one in raw], bool)
    joined = b"".join([one if fit and one else bytes(size) for one, fit in zip(raw, fits.tolist(), strict=True)])
    sealed, out = np.frombuffer(joined, np.uint8).reshape(-1, size), np.empty((len(users), _META_BYTES), np.uint8)
    zero, row = np.zeros(len(users), np.int64), np.arange(len(users))
    wrong = there & (~fits | unseal(users, _USERS, zero, zero + 1, row, sealed, out))
    meta: I64 = out.view(np.int64)
    meta[wrong | ~there] = 0
    return meta, there, wrong


def slices_of(sizes: I64, most: int) -> list[slice]:
    """Users in ranges of about as many bytes as may be under way at once; at least one range."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    goals = np.arange(most, total, most)
    cuts = np.unique(np.concatenate([[0], np.searchsorted(ends, goals) + 1, [len(sizes)]]).clip(0, len(sizes)))
    return [slice(int(lo), int(hi)) for lo, hi in pairwise(cuts)] or [slice(0, 0)]
