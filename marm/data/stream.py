"""The prepared stream, opened: any range of events as arrays, without reading what is not asked for."""

from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from marm.data.arrow import Mapped, map_batch
from marm.data.events import Column, Events, Side, Tags
from marm.data.parts import Manifest, appended_file, part_file
from marm.data.place import Mark, Offsets
from marm.data.rows import EVENT_ID, ITEM_ID, LABELS, TIME_VALUE, USER_ID
from marm.data.side import open_side
from marm.data.values import text_of, whole_of
from marm.types import F32, I64, U64

_PARTS_KEPT = 1024
_ORIGINALS_KEPT = 4
_ORIGINAL_NAMES = {"row": "row", USER_ID: "user", ITEM_ID: "item", TIME_VALUE: "time"}
_ORIGINAL_COLUMNS = {USER_ID, ITEM_ID, TIME_VALUE}


class EventLog:
    """A folder that ``prepare`` wrote, and what was appended since; its parts are mapped when touched.

    Errors: ``FolderError`` if it is none.
    """

    def __init__(self, folder: Path) -> None:
        self.items: Side | None = open_side(folder, "items")
        self.users: Side | None = open_side(folder, "users")
        self.folder = folder
        self._part = lru_cache(_PARTS_KEPT)(_map_part)
        self._original = lru_cache(_ORIGINALS_KEPT)(_read_originals)
        self.refresh()

    def __len__(self) -> int:
        return self.manifest.rows

    def refresh(self) -> None:
        """See what was appended since this was opened."""
        self.manifest = manifest = Manifest.read(self.folder)
        begins = np.arange(0, manifest.prepared, manifest.part_rows)
        self._ends = np.array([*begins[1:], manifest.prepared, *(part.end for part in manifest.growth.parts)])
        self._begins = np.concatenate([[0], self._ends[:-1]])
        self._prepared_parts = len(begins)

    def step_end(self, position: int) -> int:
        """The event that no step which begins at ``position`` may go beyond: the end of the prepared log or of a part."""
        first = self._prepared_parts - 1
        return int(self._ends[max(first, int(np.searchsorted(self._ends, position, side="right")))])

    def reopen(self) -> None:
        """Map all parts anew: some were written anew."""
        self._part.cache_clear()
        self._original.cache_clear()
        self.refresh()

    def parts(self) -> list[tuple[int, int]]:
        """First event and one past the last of each part."""
        return list(zip(self._begins.tolist(), self._ends.tolist(), strict=True)) if len(self) else []

    def files(self) -> list[Path]:
        """Where the parts lie, in the same order."""
        return [self._path(number) for number in range(len(self._ends))] if len(self) else []

    def settled(self, position: int) -> Mark:
        """Of inbox or topic, everything before it is among the events before ``position``, or never will be in the stream."""
        growth = self.manifest.growth
        if position == len(self):
            return growth.settled
        return next((part.settled for part in reversed(growth.parts) if part.end <= position), growth.begun)

    def items_told(self, position: int) -> int:
        """Bytes of the journal of items that count in the part which ends at event ``position`` or goes beyond it."""
        prepared = self._prepared_parts - 1
        at = int(np.searchsorted(self._ends[prepared:], position, side="left"))
        return self.manifest.growth.parts[at - 1].items if at else 0

    def read(self, lo: int, hi: int) -> Events:
        """Events ``lo`` to ``hi`` of the stream: views of the mapped file where they lie in one part."""
        pieces = [{name: _cut(column, begin, end) for name, column in self._part(self._path(number)).items()}
                  for number, begin, end in self._spans(lo, hi)]  # fmt: skip
        if len(pieces) == 1:
            return _events(lo, pieces[0])
        return _events(lo, {name: _joined([piece[name] for piece in pieces]) for name in pieces[0]})

    def originals(self, lo: int, hi: int) -> pl.DataFrame:
        """Row of the log, user, item and time of each event, as the log has them."""
        return _together([self._original(self._path(number))[begin:end] for number, begin, end in self._spans(lo, hi)])

    def event_ids(self, most: int, end: int | None = None) -> list[str]:
        """Ids of events, appended or of a topic, oldest first; of the ``most`` before event ``end`` (None: the last)."""
        end = len(self) if end is None else end
        named = isinstance(self.manifest.growth.begun, Offsets)
        first = min(max(end - most, 0 if named else self.manifest.prepared), end)
        pieces = [pl.read_ipc(self._path(number), columns=[EVENT_ID])[low:high, 0].drop_nulls()
                  for number, low, high in self._spans(first, end) if named or number >= self._prepared_parts]  # fmt: skip
        return [name for piece in pieces for name in piece.to_list()]

    def ids_beyond(self, position: int) -> list[str]:
        """Ids of events before ``position`` that stand in the inbox or topic at ``settled(position)`` or later; there are few.

        So what is not among the events before ``position`` is what stands from there on in it, without these.
        """
        settled, first = self.settled(position), min(position, self.manifest.prepared)
        for part in self.manifest.growth.parts:
            if part.end < position and settled.covers(part.read):
                first = part.end
        return self.event_ids(position - first, position)

    def item_originals(self, numbers: I64) -> pl.Series:
        """The log's own item ids of events (n,)."""
        parts = self._part_of(numbers)
        order = np.argsort(parts, kind="stable")
        pieces = [self._original(self._path(0)).select("item")[:0]]
        for number in np.unique(parts):
            here = numbers[parts == number] - self._begins[number]
            pieces.append(self._original(self._path(int(number))).select("item")[here])
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return _together(pieces)["item"].gather(back)

    def as_prepared(self, column: str, ids: Iterable[Any]) -> list[Any]:
        """Ids of ``item`` or ``user`` in the prepared log's type, whole numbers or text, where they read the same in it.

        One told id that is no number makes text of all that were appended with it.
        """
        dtype = self._id_types[column]
        if dtype.is_integer():
            return [whole_of(one) for one in ids]
        return [text_of(one) for one in ids] if dtype == pl.String else list(ids)

    @cached_property
    def _id_types(self) -> dict[str, pl.DataType]:
        types = pl.read_ipc_schema(self._path(0))
        return {"user": types[USER_ID], "item": types[ITEM_ID]}

    def item_hashes(self, numbers: I64) -> U64:
        """Hashed items of events (n,)."""
        return self._gathered("item", numbers)

    def item_columns(self, numbers: I64) -> U64:
        """Logged item categories of events (n, C), in the manifest's order; zeros for a number below 0, which is no event."""
        names, here = self.manifest.columns["item"], numbers >= 0
        out = np.zeros((len(numbers), len(names)), np.uint64)
        for c, name in enumerate(names):
            out[here, c] = self._gathered(f"item.{name}", numbers[here])
        return out

    def _gathered(self, name: str, numbers: I64) -> U64:
        """One hashed column at any events (n,)."""
        if not len(numbers):
            return np.empty(0, np.uint64)
        first, last = self._part_of(np.array([numbers.min(), numbers.max()])).tolist()
        if first == last:
            return self._hashes(first, name)[numbers - int(self._begins[first])]
        parts = self._part_of(numbers)
        out = np.empty(len(numbers), np.uint64)
        for number in np.unique(parts):
            here = parts == number
            out[here] = self._hashes(int(number), name)[numbers[here] - self._begins[number]]
        return out

    def _hashes(self, number: int, name: str) -> U64:
        return cast(U64, self._part(self._path(number))[name])

    def _part_of(self, numbers: I64) -> I64:
        parts: I64 = np.searchsorted(self._ends, numbers, side="right")
        return parts

    def _path(self, number: int) -> Path:
        if number < self._prepared_parts:
            return part_file(self.folder, number)
        return appended_file(self.folder, int(self._begins[number]), int(self._ends[number]))

    def _spans(self, lo: int, hi: int) -> list[tuple[int, int, int]]:
        """Parts that hold a range, and begin and end within each; one empty span for an empty range."""
        if not 0 <= lo <= hi <= len(self):
            raise IndexError(f"events {lo} to {hi} of a stream of {len(self)}")
        if lo == hi:
            return [(0, 0, 0)]
        first, last = self._part_of(np.array([lo, hi - 1])).tolist()
        begins, ends = self._begins, self._ends
        return [(number, max(lo - int(begins[number]), 0), min(hi, int(ends[number])) - int(begins[number]))
                for number in range(first, last + 1)]  # fmt: skip


def _map_part(path: Path) -> dict[str, Mapped]:
    # Ids and times as the log has them may be plain numbers too, in one part and not in another.
    return {name: column for name, column in map_batch(path).items() if name not in _ORIGINAL_COLUMNS}


def _read_originals(path: Path) -> pl.DataFrame:
    return pl.read_ipc(path, columns=list(_ORIGINAL_NAMES)).rename(_ORIGINAL_NAMES)


def _together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One after the other; ids that are numbers in some parts and text in others are text."""
    return pl.concat(frames, how="vertical_relaxed")


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
