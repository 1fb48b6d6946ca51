"""Runs of a ring's positions cut at the borders of chunks, and the keys of these."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from marm.types import I64, U8, U64

CHUNK = 64
_KEY_BYTES = 13


@dataclass(frozen=True)
class Runs:
    """Runs of positions cut at chunk borders."""

    keys: list[bytes]
    where: I64
    """(3, C): row of the flat column where the run lies, row of the chunk where it begins, rows of it."""


def chunk_key(user: int, column: int, chunk: int) -> bytes:
    """Key of a chunk of a user's column."""
    return user.to_bytes(8, "big") + bytes((column,)) + chunk.to_bytes(4, "big")


def runs_of(users: U64, column: int, first: I64, upto: I64, row: I64) -> Runs:
    """Each user's positions [first, upto), that lie from ``row`` on in the flat column, cut at chunk borders."""
    keys, where = _cut_at_chunks(users, column, first, upto, row)
    return Runs(slices(keys, _KEY_BYTES), where)


@njit(cache=True, nogil=True)
def _cut_at_chunks(users: U64, column: int, first: I64, upto: I64, row: I64) -> tuple[U8, I64]:
    size = 0
    for i in range(len(users)):
        if upto[i] > first[i]:
            size += (upto[i] - 1) // CHUNK - first[i] // CHUNK + 1
    keys, where = np.empty((size, _KEY_BYTES), np.uint8), np.empty((3, size), np.int64)
    at = 0
    for i in range(len(users)):
        position = first[i]
        while position < upto[i]:
            chunk, inside = position // CHUNK, position % CHUNK
            for byte in range(8):
                keys[at, byte] = (users[i] >> np.uint64(56 - 8 * byte)) & np.uint64(255)
            keys[at, 8] = column
            for byte in range(4):
                keys[at, 9 + byte] = (chunk >> (24 - 8 * byte)) & 255
            where[0, at], where[1, at] = row[i] + position - first[i], inside
            where[2, at] = min(CHUNK - inside, upto[i] - position)
            position += where[2, at]
            at += 1
    return keys, where


def user_keys(users: U64) -> list[bytes]:
    """Keys of users."""
    return slices(users.astype(">u8"), 8)


def slices(array: np.ndarray, size: int) -> list[bytes]:
    """An array's bytes in pieces of ``size``."""
    raw = array.tobytes()
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def flat_of(rows: U8) -> memoryview:
    """Rows as one run of bytes."""
    return rows.reshape(-1).data
