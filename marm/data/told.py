"""What was told of items since the log was prepared, laid over the item file and over what the log last said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from marm.data.events import Column, Side, join_columns, take
from marm.data.stream import EventLog
from marm.data.values import Converter, hashes_of
from marm.errors import DataError
from marm.types import U64, Bool

Features = dict[str, Column]
"""Values that were told of one item, as columns of one entry."""


@dataclass(frozen=True)
class Logged:
    """Logged categories that were told, of N items in order of their ids."""

    ids: U64
    values: U64
    """(N, C), in the manifest's order."""
    told: Bool
    """(N, C): of which the log's own value no longer holds."""

    def over(self, item: U64, columns: U64) -> U64:
        """Columns of items (n, C) with what was told in place of what is there."""
        if not len(self.ids):
            return columns
        at = np.minimum(np.searchsorted(self.ids, item), len(self.ids) - 1)
        told = self.told[at] & (self.ids[at] == item)[:, None]
        out: U64 = np.where(told, self.values[at], columns)
        return out


@dataclass(frozen=True)
class Told:
    """Items as they are known at a moment; replaced when more is told, never changed."""

    side: Side | None
    """The item file with what was told laid over it."""
    logged: Logged
    names: dict[int, Any] = field(default_factory=dict)
    """Ids of all items that were told of, in the log's type, by hash; in the order of the first telling."""
    withdrawn: frozenset[int] = frozenset()
    """Of these, which are withdrawn."""

    @property
    def offered(self) -> U64:
        """Items that were told of and are not withdrawn (n,)."""
        return np.array([key for key in self.names if key not in self.withdrawn], np.uint64)


def nothing_told(side: Side | None, categories: int) -> Told:
    """The item file as it is; ``categories``: how many stand in the log."""
    none = np.zeros((0, categories), np.uint64)
    return Told(side, Logged(np.zeros(0, np.uint64), none, none.astype(bool)))


class Laying:
    """Lays what is told over what is known. One for each log: it knows its features."""

    def __init__(self, log: EventLog) -> None:
        self._log, manifest = log, log.manifest
        self._logged = list(manifest.columns["item"])
        groups = dict.fromkeys(manifest.columns["items"], "items") | dict.fromkeys(self._logged, "item")
        self._converters = {name: Converter(name, manifest.how(group, name)) for name, group in groups.items()}
        self.nothing = nothing_told(log.items, len(self._logged))

    def over(self, known: Told, items: Sequence[Mapping[str, Any]]) -> Told:
        """What is known after these are told, one by one. Errors: ``DataError`` naming the first that cannot be."""
        keys = hashes_of([item["item"] for item in items]).tolist()
        names, withdrawn = dict(known.names), set(known.withdrawn)
        features: dict[int, Features] = {}
        called = self._log.as_prepared("item", [item["item"] for item in items])
        for at, (key, item) in enumerate(zip(keys, items, strict=True)):
            try:
                features.setdefault(key, {}).update(self._features(item.get("features") or {}))
            except DataError as error:
                raise DataError(f"items[{at}]: {error}") from None
            names.setdefault(key, called[at])
            if item.get("withdrawn") is not None:
                (withdrawn.add if item["withdrawn"] else withdrawn.discard)(key)
        side = _over_side(known.side, features) if known.side else None
        return Told(side, _over_logged(known.logged, features, self._logged), names, frozenset(withdrawn))

    def _features(self, given: Mapping[str, Any]) -> Features:
        for name in given:
            if name not in self._converters:
                raise DataError(f"no item feature {name}; the run has {', '.join(self._converters) or 'none'}")
        return {name: self._converters[name](value) for name, value in given.items()}


def _over_side(side: Side, features: dict[int, Features]) -> Side:
    told = {key: given for key, given in features.items() if not given.keys().isdisjoint(side.columns)}
    if not told:
        return side
    keys = np.array(list(told), np.uint64)
    at, keep = side.find(keys), np.flatnonzero(~np.isin(side.ids, keys))
    ids = np.concatenate([side.ids[keep], keys])
    order = np.argsort(ids, kind="stable")
    columns: dict[str, Column] = {}
    for name, column in side.columns.items():
        has = np.array([name in given for given in told.values()])
        rows = np.arange(len(ids))
        rows[len(keep) + np.flatnonzero(has)] = len(ids) + np.arange(has.sum())
        parts = [take(column, np.concatenate([keep, at])), *(given[name] for given in told.values() if name in given)]
        columns[name] = take(join_columns(parts), rows[order])
    return Side(ids[order], columns)


def _over_logged(known: Logged, features: dict[int, Features], names: list[str]) -> Logged:
    given = [(key, c, one[name]) for key, one in features.items() for c, name in enumerate(names) if name in one]
    if not given:
        return known
    keys = np.array([key for key, _, _ in given], np.uint64)
    ids = np.union1d(known.ids, keys)
    values, told = np.zeros((len(ids), len(names)), np.uint64), np.zeros((len(ids), len(names)), bool)
    before = np.searchsorted(ids, known.ids)
    values[before], told[before] = known.values, known.told
    at = np.searchsorted(ids, keys), [c for _, c, _ in given]
    values[at], told[at] = cast(U64, join_columns([value for _, _, value in given])), True
    return Logged(ids, values, told)
