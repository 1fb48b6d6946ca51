"""Checksums: each row carries four bytes that only its own bytes, at its own place, give.

The place (user, column, position) goes into the sum, so a row that lies where another belongs is wrong as well.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from marm.mix import GOLDEN, MUL_A, MUL_B, mix
from marm.store.pages import copy_bytes
from marm.types import I64, U8, U32, U64, Bool

SUM_BYTES = 4


def sealed_width(width: int) -> int:
    """Bytes of a row with its sum; a row of none has none."""
    return width + SUM_BYTES if width else 0


def seal(users: U64, column: int, first: I64, counts: I64, rows: U8) -> U8:
    """Rows with their sums behind them: (R, width + 4). User b's are at positions from ``first[b]`` on."""
    out = np.empty((len(rows), sealed_width(rows.shape[1])), np.uint8)
    if rows.shape[1]:
        _seal(users, column, first, counts, np.ascontiguousarray(rows).reshape(-1), rows.shape[1], out.reshape(-1))
    return out


def unseal(users: U64, column: int, first: I64, upto: I64, row: I64, sealed: U8, out: U8) -> Bool:
    """Copy rows without their sums, and say whose are wrong (B,): user b's positions [first, upto) lie from ``row`` on."""
    wrong = np.zeros(len(users), np.bool_)
    if out.shape[1]:
        where = np.stack([first, upto, row], axis=1)
        _unseal(users, column, where, sealed.reshape(-1), out.shape[1], out.reshape(-1), wrong)
    return wrong


def block_sums(data: U8, size: int) -> U32:
    """Sums of blocks of ``size`` bytes, each with its number."""
    count = len(data) // size if size else 0
    out = np.empty(count, np.uint32)
    _blocks(data, size, out)
    return out


@njit(cache=True, nogil=True, inline="always")
def _place(user: np.uint64, column: int, position: np.int64) -> np.uint64:
    return mix(user + GOLDEN * np.uint64(2 * position + column + 1))


@njit(cache=True, nogil=True, inline="always")
def _turned(x: np.uint64) -> np.uint64:
    return (x << np.uint64(31)) | (x >> np.uint64(33))


def _load(typing: Any, data: Any, at: Any) -> Any:
    """Eight bytes at any place, as a number: a view for each row would cost more than the sum."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = context.get_value_type(types.uint64)
        return builder.load(builder.bitcast(builder.gep(base, [args[1]]), word.as_pointer()), align=1)

    return types.uint64(data, types.int64), code


_word: Any = intrinsic(_load)


@njit(cache=True, nogil=True)
def _sum(data: U8, begin: np.int64, size: int, seed: np.uint64) -> np.uint32:
    """Two lanes of words, turned after each product so that no bit of a word stays where it was."""
    one, two = seed, ~seed
    at, end = begin, begin + size // 8 * 8
    while at + 8 < end:
        one = _turned((one ^ _word(data, at)) * GOLDEN)
        two = _turned((two ^ _word(data, at + 8)) * MUL_A)
        at += 16
    if at < end:
        one = _turned((one ^ _word(data, at)) * GOLDEN)
    rest = np.uint64(size)
    for byte in range(end, begin + size):
        rest = (rest << np.uint64(8)) | np.uint64(data[byte])
    return np.uint32(mix(one ^ _turned(two) ^ (rest * MUL_B)) & np.uint64(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def _seal(users: U64, column: int, first: I64, counts: I64, flat: U8, width: int, out: U8) -> None:
    row = 0
    for b in range(len(users)):
        for i in range(counts[b]):
            to = row * (width + 4)
            copy_bytes(out, to, flat, row * width, width)
            found = _sum(flat, np.int64(row) * width, width, _place(users[b], column, first[b] + i))
            for byte in range(4):
                out[to + width + byte] = (found >> np.uint32(8 * byte)) & np.uint32(255)
            row += 1


@njit(cache=True, nogil=True)
def _unseal(users: U64, column: int, where: I64, flat: U8, width: int, out: U8, wrong: Bool) -> None:
    for b in range(len(users)):
        for i in range(where[b, 1] - where[b, 0]):
            row = where[b, 2] + i
            begin = row * (width + 4)
            copy_bytes(out, row * width, flat, begin, width)
            found = _sum(flat, begin, width, _place(users[b], column, where[b, 0] + i))
            for byte in range(4):
                if flat[begin + width + byte] != (found >> np.uint32(8 * byte)) & np.uint32(255):
                    wrong[b] = True


@njit(cache=True, nogil=True)
def _blocks(data: U8, size: int, out: U32) -> None:
    for block in range(len(out)):
        out[block] = _sum(data, np.int64(block) * size, size, _place(np.uint64(0), 0, np.int64(block)))
