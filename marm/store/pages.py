"""One column of many rings in this process's memory: fixed-width rows in pages that users are lent and give back.

    user's positions    0 ......... 15 | 16 ........ 31 | 32 ........ 47 | 48 .. 50     (16 rows in a page)
    table[slot]         page 9           page 2           page 7          page 0         entry = page + 1; 0 is none

Page p of a user stands at entry p modulo the table's width, which spans all positions kept; pages wholly before them go
back to the free list first, so the entry that the newest page needs is always empty.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from marm.types import I32, I64, U8

_PAGE_BYTES = 4096
_raw_memcpy: Any = cgutils.raw_memcpy
Spans = I64
"""(B, 4): slot, first position, end position, row of the flat column that the first position goes to or comes from."""


def spans(slots: I64, first: I64, upto: I64, row: I64) -> Spans:
    """Runs of positions, and where each lies in a flat column; an ``upto`` below ``first`` is an empty run."""
    out = np.empty((len(slots), 4), np.int64)
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = slots, first, np.maximum(first, upto), row
    return out


class Pages:
    """Rows of ``width`` bytes, the last ``kept`` of each slot; bookkeeping of positions is the caller's."""

    def __init__(self, width: int, kept: int, rows_hint: int = 0) -> None:
        self.rows = 1 << min(max((_PAGE_BYTES // max(width, 1)).bit_length() - 1, 3), 6)
        self.width = width
        self.table: I32 = np.zeros((0, kept // self.rows + 2), np.int32)
        self.data: U8 = np.zeros(self._bytes(-(-rows_hint // self.rows)), np.uint8)
        self.free = np.zeros(0, np.int64)
        self.tally = np.zeros(2, np.int64)  # pages ever lent, pages free

    def _bytes(self, pages: int) -> int:
        return pages * self.rows * self.width

    def reserve(self, slots: int, first: I64, upto: I64) -> None:
        """Room for runs of rows at slots below ``slots``; changes nothing that can be read."""
        pages = np.where(upto > first, (upto - first) // self.rows + 2, 0)
        need = int(self.tally[0]) + max(int(pages.sum()) - int(self.tally[1]), 0)
        self.table = fitted(self.table, slots)
        self.data = fitted(self.data, self._bytes(need))
        self.free = fitted(self.free, need)

    def release(self, slots: I64, floor: I64, new_floor: I64) -> None:
        """Take back pages wholly below the new floor; pages below the old one were taken back before."""
        pages = spans(slots, floor // self.rows, new_floor // self.rows, np.zeros_like(slots))
        _release(self.table, self.free, self.tally, pages)

    def wipe(self, slots: I64) -> None:
        """Take back all pages of slots, and overwrite them."""
        entries = self.table[slots]
        pages: I64 = entries[entries > 0].astype(np.int64) - 1
        self._by_page()[pages] = 0
        self.free[self.tally[1] : self.tally[1] + len(pages)] = pages
        self.tally[1] += len(pages)
        self.table[slots] = 0

    def write(self, where: Spans, rows: U8) -> None:
        """Copy runs of rows in; ``reserve`` comes first."""
        _lend(self.table, self.free, self.tally, where, self.rows)
        _copy(self.table, self.data, where, self._shape(), np.ascontiguousarray(rows).reshape(-1), True)

    def read(self, where: Spans, out: U8) -> None:
        """Copy runs of rows out to the flat column ``out`` (R, width); every position must have been written."""
        _copy(self.table, self.data, where, self._shape(), out.reshape(-1), False)

    def first_not_before(self, slots: I64, floor: I64, upto: I64, before: I64) -> I64:
        """First position in [floor, upto) whose time is not before the given one; ``upto`` where all are."""
        out = np.empty(len(slots), np.int64)
        _search(self.table, self.data, np.stack([slots, floor, upto, before], axis=1), self._shape(), out)
        return out

    def _shape(self) -> tuple[int, int]:
        return self.rows, self.width

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it holds, without a copy, for a dump; what pages given back held does not go along."""
        self._by_page()[self.free[: self.tally[1]]] = 0
        used = self.data[: self._bytes(int(self.tally[0]))]
        return {"table": self.table, "data": used, "free": self.free[: self.tally[1]], "tally": self.tally}

    def _by_page(self) -> U8:
        lent = int(self.tally[0])
        return self.data[: self._bytes(lent)].reshape(lent, self._bytes(1))

    @property
    def page_bytes(self) -> int:
        """Bytes of a page."""
        return self._bytes(1)

    @property
    def bytes_lent(self) -> int:
        """Bytes of pages that slots have now."""
        return self._bytes(int(self.tally[0] - self.tally[1]))

    @property
    def bytes_held(self) -> int:
        """Bytes of all that was set aside, tables too; the system gives memory for it when it is first written."""
        return self.data.nbytes + self.table.nbytes + self.free.nbytes

    def slots_of(self, pages: I64) -> I64:
        """Slots that hold any of these pages."""
        slots: I64 = np.flatnonzero(np.isin(self.table, pages + 1).any(1))
        return slots

    def restore(self, arrays: dict[str, np.ndarray], order: I64) -> None:
        """Take over a dump's arrays; slot i is what was slot ``order[i]``."""
        self.table = np.ascontiguousarray(arrays["table"][order])
        self.data, self.tally = arrays["data"], arrays["tally"]
        self.free = fitted(arrays["free"], int(self.tally[0]))


def fitted(array: np.ndarray, need: int) -> np.ndarray:
    """The array, or a copy at least twice as long that holds ``need`` entries; new ones are zero."""
    if need <= len(array):
        return array
    grown = np.zeros((max(need, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _memcpy(typing: Any, to: Any, to_at: Any, source: Any, source_at: Any, count: Any) -> Any:
    """The machine's memcpy between two flat arrays: three to five times a compiled loop over bytes."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ends = []
        for array, at in ((0, 1), (2, 3)):
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            ends.append(builder.gep(data, [args[at]]))
        _raw_memcpy(builder, ends[0], ends[1], args[4], 1)
        return context.get_dummy_value()

    return types.void(to, types.int64, source, types.int64, types.int64), code


copy_bytes: Any = intrinsic(_memcpy)


@njit(cache=True, nogil=True)
def _release(table: I32, free: I64, tally: I64, pages: Spans) -> None:
    width = table.shape[1]
    for i in range(len(pages)):
        slot = pages[i, 0]
        for page in range(pages[i, 1], min(pages[i, 2], pages[i, 1] + width)):
            if table[slot, page % width] != 0:
                free[tally[1]] = table[slot, page % width] - 1
                tally[1] += 1
                table[slot, page % width] = 0


@njit(cache=True, nogil=True)
def _lend(table: I32, free: I64, tally: I64, where: Spans, rows: int) -> None:
    width = table.shape[1]
    for i in range(len(where)):
        slot, upto = where[i, 0], where[i, 2]
        for page in range(where[i, 1] // rows, (upto + rows - 1) // rows if upto > where[i, 1] else 0):
            if table[slot, page % width] == 0:
                if tally[1] > 0:
                    tally[1] -= 1
                    table[slot, page % width] = free[tally[1]] + 1
                else:
                    tally[0] += 1
                    table[slot, page % width] = tally[0]


@njit(cache=True, nogil=True)
def _byte_of(table: I32, slot: np.int64, position: np.int64, shape: tuple[int, int]) -> np.int64:
    rows, width = shape
    entry = np.int64(table[slot, (position // rows) % table.shape[1]])
    return ((entry - 1) * rows + position % rows) * width


@njit(cache=True, nogil=True)
def _copy(table: I32, data: U8, where: Spans, shape: tuple[int, int], flat: U8, into_pages: bool) -> None:
    rows, width = shape
    for i in range(len(where)):
        position, upto, at = where[i, 1], where[i, 2], where[i, 3] * width
        while position < upto:
            run = min(upto - position, rows - position % rows)
            page_at = _byte_of(table, where[i, 0], position, shape)
            if into_pages:
                copy_bytes(data, page_at, flat, at, run * width)
            else:
                copy_bytes(flat, at, data, page_at, run * width)
            position += run
            at += run * width


@njit(cache=True, nogil=True)
def _search(table: I32, data: U8, asked: I64, shape: tuple[int, int], out: I64) -> None:
    for i in range(len(asked)):
        low, high = asked[i, 1], asked[i, 2]
        middle = high - 1  # the newest first: most questions are about now
        while low < high:
            at = _byte_of(table, asked[i, 0], middle, shape)
            if data[at : at + 8].view(np.int64)[0] < asked[i, 3]:
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        out[i] = low
