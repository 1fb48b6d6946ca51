"""The prepared stream, opened: any range of events as arrays, without reading what is not asked for."""

from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from marm.data.arrow import Mapped, map_batch
from marm.data.events import Column, Events, Side, Tags
from marm.data.parts import Manifest, part_file
from marm.data.rows import ITEM_ID, LABELS, TIME_VALUE, USER_ID
from marm.data.side import open_side
from marm.types import F32, I64, U64

_PARTS_KEPT = 1024
_ORIGINALS_KEPT = 4
_ORIGINAL_NAMES = {"row": "row", USER_ID: "user", ITEM_ID: "item", TIME_VALUE: "time"}


class EventLog:
    """A folder that ``prepare`` wrote; its parts are mapped when touched. Errors: ``FolderError`` if it is none."""

    def __init__(self, folder: Path) -> None:
        self.manifest = Manifest.read(folder)
        self.items: Side | None = open_side(folder, "items")
        self.users: Side | None = open_side(folder, "users")
        self._folder = folder
        self._part_rows = self.manifest.part_rows
        self._part = lru_cache(_PARTS_KEPT)(self._map_part)
        self._original = lru_cache(_ORIGINALS_KEPT)(self._read_originals)

    def __len__(self) -> int:
        return self.manifest.rows

    def read(self, lo: int, hi: int) -> Events:
        """Events ``lo`` to ``hi`` of the stream: views of the mapped file where they lie in one part."""
        pieces = [{name: _cut(column, begin, end) for name, column in self._part(number).items()}
                  for number, begin, end in self._spans(lo, hi)]  # fmt: skip
        if len(pieces) == 1:
            return _events(lo, pieces[0])
        return _events(lo, {name: _joined([piece[name] for piece in pieces]) for name in pieces[0]})

    def originals(self, lo: int, hi: int) -> pl.DataFrame:
        """Row of the log, user, item and time of each event, as the log has them."""
        pieces = [self._original(number)[begin:end] for number, begin, end in self._spans(lo, hi)]
        return pl.concat(pieces)

    def item_originals(self, numbers: I64) -> pl.Series:
        """The log's own item ids of events (n,)."""
        parts = numbers // self._part_rows
        order = np.argsort(parts, kind="stable")
        pieces = [self._original(0)["item"][:0]]
        for number in np.unique(parts):
            here = numbers[parts == number] - number * self._part_rows
            pieces.append(self._original(int(number))["item"].gather(here))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pl.concat(pieces).gather(back)

    def item_hashes(self, numbers: I64) -> U64:
        """Hashed items of events (n,)."""
        return self._gathered("item", numbers)

    def item_columns(self, numbers: I64) -> U64:
        """Logged item categories of events (n, C), in the manifest's order."""
        names = self.manifest.columns["item"]
        columns = [self._gathered(f"item.{name}", numbers) for name in names]
        return np.stack(columns, 1) if columns else np.zeros((len(numbers), 0), np.uint64)

    def _gathered(self, name: str, numbers: I64) -> U64:
        """One hashed column at any events (n,)."""
        if not len(numbers):
            return np.empty(0, np.uint64)
        first, last = int(numbers.min()) // self._part_rows, int(numbers.max()) // self._part_rows
        if first == last:
            return self._hashes(first, name)[numbers - first * self._part_rows]
        parts = numbers // self._part_rows
        out = np.empty(len(numbers), np.uint64)
        for number in np.unique(parts):
            here = parts == number
            out[here] = self._hashes(int(number), name)[numbers[here] - number * self._part_rows]
        return out

    def _hashes(self, number: int, name: str) -> U64:
        return cast(U64, self._part(number)[name])

    def _spans(self, lo: int, hi: int) -> list[tuple[int, int, int]]:
        """Parts that hold a range, and begin and end within each; one empty span for an empty range."""
        if not 0 <= lo <= hi <= len(self):
            raise IndexError(f"events {lo} to {hi} of a stream of {len(self)}")
        if lo == hi:
            return [(0, 0, 0)]
        size = self._part_rows
        return [(number, max(lo - number * size, 0), min(hi - number * size, size))
                for number in range(lo // size, (hi - 1) // size + 1)]  # fmt: skip

    def _map_part(self, number: int) -> dict[str, Mapped]:
        return map_batch(part_file(self._folder, number))

    def _read_originals(self, number: int) -> pl.DataFrame:
        frame = pl.read_ipc(part_file(self._folder, number), columns=list(_ORIGINAL_NAMES))
        return frame.rename(_ORIGINAL_NAMES)


def _cut(column: Mapped, begin: int, end: int) -> Mapped:
    if not isinstance(column, Tags):
        return column[begin:end]
    offsets = column.offsets[begin : end + 1]
    return Tags(column.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def _joined(columns: list[Mapped]) -> Mapped:
    tags = [column for column in columns if isinstance(column, Tags)]
    if not tags:
        return np.concatenate(cast(list[F32], columns))
    counts = np.concatenate([np.diff(column.offsets) for column in tags])
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Tags(np.concatenate([column.values for column in tags]), offsets)


def _events(start: int, columns: dict[str, Mapped]) -> Events:
    groups: dict[str, dict[str, Column]] = {"item": {}, "user": {}, "context": {}}
    plain: dict[str, Mapped] = {}
    for name, column in columns.items():
        group, dot, feature = name.partition(".")
        if dot:
            groups[group][feature] = column
        else:
            plain[name] = column
    return Events(
        start=start,
        row=cast(I64, plain["row"]),
        user=cast(U64, plain["user"]),
        item=cast(U64, plain["item"]),
        time=cast(I64, plain["time"]),
        known=cast(I64, plain["known"]),
        history=cast(np.ndarray, plain["history"]).view(np.bool_),
        labels=cast(F32, plain[LABELS]),
        item_columns=cast(dict[str, U64], groups["item"]),
        user_columns=groups["user"],
        context=groups["context"],
    )
