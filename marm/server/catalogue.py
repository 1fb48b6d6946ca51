"""Items as they were told since training: added, changed, withdrawn, available from and until; a journal on the disk."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from marm.config import RunConfig
from marm.data.events import Column, Side, Tags
from marm.data.stream import EventLog
from marm.engine.exposures import join_column
from marm.errors import DataError, DiskError
from marm.model.features import take
from marm.server.times import Times
from marm.server.values import Converter, hashes_of
from marm.types import I64, U64, Bool

_ALWAYS = (-(1 << 62), 1 << 62)


@dataclass(frozen=True)
class Entry:
    """What was told of an item."""

    item: Any
    features: dict[str, Column]
    withdrawn: bool = False
    begin: int = _ALWAYS[0]
    end: int = _ALWAYS[1]
    """Available from ``begin`` on and before ``end``, in microseconds."""


class Catalogue:
    """The item file with the journal laid over it. One thread tells, others ask: what they see is replaced whole."""

    def __init__(self, run: RunConfig, folder: Path, log: EventLog, times: Times) -> None:
        """Replays the journal. Errors: ``DiskError``."""
        self._times, self._log, self._path = times, log, folder / "items.ndjson"
        manifest = log.manifest
        self._logged = list(manifest.columns["item"])
        self._sided = {name: kind for name, kind in manifest.columns["items"].items() if name not in self._logged}
        kinds = dict.fromkeys(self._logged, "category") | self._sided
        self._converters = {n: Converter(n, k, manifest.widths.get(f"items.{n}", 1)) for n, k in kinds.items()}
        self.entries: dict[int, Entry] = {}
        self._rows: dict[int, int] = {}
        self._limits: tuple[U64, I64, I64] = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.side: Side | None = log.items
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            data = self._path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.ftruncate(self._file, len(whole))
        except OSError as error:
            raise DiskError(self._path, error) from None
        told = [orjson.loads(line) for line in whole.splitlines()]
        self._show(self._merged(told))

    def tell(self, items: Sequence[dict[str, Any]]) -> None:
        """Take items, all or none, down to the disk. Errors: ``DataError`` naming the item, ``DiskError``."""
        entries = self._merged(items)
        size = os.fstat(self._file).st_size
        try:
            data = b"".join(orjson.dumps(item) + b"\n" for item in items)
            while data:
                data = data[os.write(self._file, data) :]
            os.fdatasync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise DiskError(self._path, error) from None
        self._show(entries)

    def _merged(self, items: Sequence[dict[str, Any]]) -> dict[int, Entry]:
        entries = dict(self.entries)
        keys = hashes_of([item["item"] for item in items]).tolist()
        for at, (key, item) in enumerate(zip(keys, items, strict=True)):
            try:
                entries[key] = self._entry(entries.get(key, Entry(item["item"], {})), item)
            except DataError as error:
                raise DataError(f"items[{at}]: {error}") from None
        return entries

    def _entry(self, old: Entry, told: dict[str, Any]) -> Entry:
        features = dict(old.features)
        for name, value in (told.get("features") or {}).items():
            converter = self._converters.get(name)
            if converter is None:
                raise DataError(f"no item feature {name}; the run has {', '.join(self._converters) or 'none'}")
            features[name] = converter(value)
        new = replace(old, features=features)
        if told.get("withdrawn") is not None:
            new = replace(new, withdrawn=told["withdrawn"])
        if told.get("available_from") is not None:
            new = replace(new, begin=self._times.read(told["available_from"]))
        if told.get("available_until") is not None:
            new = replace(new, end=self._times.read(told["available_until"]))
        return new

    def _show(self, entries: dict[int, Entry]) -> None:
        self.entries = entries
        self.side = self._sides(entries)
        limited = [(key, e) for key, e in entries.items() if e.withdrawn or (e.begin, e.end) != _ALWAYS]
        keys = np.array([key for key, _ in limited], np.uint64)
        begin = np.array([_ALWAYS[1] if e.withdrawn else e.begin for _, e in limited], np.int64)
        end = np.array([e.end for _, e in limited], np.int64)
        order = np.argsort(keys)
        self._limits = (keys[order], begin[order], end[order])

    def _sides(self, entries: dict[int, Entry]) -> Side | None:
        base = self._log.items
        told = {key: entry for key, entry in entries.items() if not entry.features.keys().isdisjoint(self._sided)}
        if base is None or not told:
            return base
        keys = np.array(list(told), np.uint64)
        at = base.find(keys)
        keep = np.flatnonzero(~np.isin(base.ids, keys))
        columns: dict[str, Column] = {}
        order = np.argsort(np.concatenate([base.ids[keep], keys]), kind="stable")
        for name, column in base.columns.items():
            parts = [entry.features[name] if name in entry.features else take(column, at[i : i + 1])
                     for i, entry in enumerate(told.values())]  # fmt: skip
            joined = take(column, keep)
            columns[name] = take(join_column(joined, _together(parts)), order)
        return Side(np.concatenate([base.ids[keep], keys])[order], columns)

    def overlay(self, item: U64, columns: U64) -> None:
        """Lay logged categories that were told over those as last logged (n, C), in place."""
        if not self._logged or not self.entries:
            return
        for i, key in enumerate(item.tolist()):
            entry = self.entries.get(key)
            if entry:
                for c, name in enumerate(self._logged):
                    if name in entry.features:
                        columns[i, c] = entry.features[name][0]  # type: ignore[index]

    def available(self, item: U64, at: int) -> Bool:
        """Which items may be shown at a time (n,)."""
        keys, begin, end = self._limits
        out = np.ones(len(item), bool)
        if len(keys):
            place = np.minimum(np.searchsorted(keys, item), len(keys) - 1)
            known = keys[place] == item
            out[known] = (begin[place[known]] <= at) & (at < end[place[known]])
        return out

    def unavailable(self, at: int) -> U64:
        """All items that may not be shown at a time."""
        keys, begin, end = self._limits
        return keys[(at < begin) | (end <= at)]

    def close(self) -> None:
        """Give back the journal."""
        os.close(self._file)


def _together(parts: list[Column]) -> Column:
    tags = [part for part in parts if isinstance(part, Tags)]
    if tags:
        counts = np.array([len(part.values) for part in tags])
        return Tags(np.concatenate([part.values for part in tags]), np.concatenate([[0], np.cumsum(counts)]))
    return np.concatenate([part for part in parts if not isinstance(part, Tags)])
