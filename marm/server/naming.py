"""What hashes stand for: ids of users and items as the log has them, and what the item file says of an item."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marm.config import RunConfig
from marm.data.formats import scan
from marm.data.ids import as_text, hash_text
from marm.data.seen import LastSeen
from marm.data.stream import EventLog
from marm.data.values import text_of
from marm.errors import MarmError
from marm.types import I64, U64

_KEPT = 200_000
"""Items whose names and features are kept at hand."""
_AT_ONCE = 2**18
_MOST_COLUMNS, _MOST_TEXT, _MOST_PARTS = 12, 200, 8


def plain(value: Any) -> int | float | str:
    """An id as JSON has it."""
    return value if type(value) in (int, float, str) else text_of(value)


class IndexNames:
    """Ids of the items of an index as the log has them, read when a cut is opened, and kept over cuts: none is read twice."""

    def __init__(self) -> None:
        self._names: dict[int, Any] = {}

    def learn(self, log: EventLog, items: U64, events: I64, told: Mapping[int, Any]) -> None:
        """Names of items (n,), each read from one of its events; of one that has none, as it was told."""
        new = np.array([at for at, key in enumerate(items.tolist()) if key not in self._names], np.int64)
        unseen = items[new[events[new] < 0]].tolist()
        self._names.update((key, told[key]) for key in unseen)
        new = new[events[new] >= 0]
        if len(new):
            originals = log.as_prepared("item", log.item_originals(events[new]))
            self._names.update(zip(items[new].tolist(), originals, strict=True))

    def of(self, items: U64) -> list[Any]:
        """Names of items that were learned."""
        return [self._names[key] for key in items.tolist()]


class ItemNames:
    """Ids of items as the log has them; those asked for lately are kept."""

    def __init__(self, log: EventLog) -> None:
        self._log, self._last = log, LastSeen(log)
        self._kept: OrderedDict[int, int | float | str] = OrderedDict()

    def of(self, items: U64) -> dict[int, int | float | str]:
        """The id of each item that the log has seen."""
        missing = np.array([key for key in set(items.tolist()) if key not in self._kept], np.uint64)
        last = self._last.last(missing)
        found = missing[last >= 0].tolist()
        out = {key: self._kept[key] for key in items.tolist() if key in self._kept}
        out |= dict(zip(found, self.as_prepared(self._log.item_originals(last[last >= 0])), strict=True))
        _keep(self._kept, out)
        return out

    def as_prepared(self, told: Iterable[Any]) -> list[int | float | str]:
        """Ids that were told, as JSON and the log have them."""
        return [plain(value) for value in self._log.as_prepared("item", told)]


class ItemFeatures:
    """What the item file says of items, as it says it; nothing where there is no such file any more."""

    def __init__(self, run: RunConfig) -> None:
        file = run.data.items
        self._path = Path(run.data.path) / file.file if file else None
        self._id = file.id if file else ""
        self._vectors = {name for name, feature in run.features.item.items() if feature.kind == "vector"}
        self._kept: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def of(self, items: U64) -> dict[int, dict[str, Any]]:
        """Columns of each item, but vectors: text, numbers, or lists of them, cut where long."""
        missing = np.array([key for key in set(items.tolist()) if key not in self._kept], np.uint64)
        out = {key: self._kept[key] for key in items.tolist() if key in self._kept}
        if len(missing) and self._path is not None:
            out |= {key: {} for key in missing.tolist()} | self._read(self._path, missing)
        _keep(self._kept, out)
        return out

    def _read(self, path: Path, items: U64) -> dict[int, dict[str, Any]]:
        try:
            lazy = scan(path)
            schema = lazy.collect_schema()
            shown = [name for name, kind in schema.items() if self._is_shown(name, kind)][:_MOST_COLUMNS]
            wanted = pl.col(self._id).map_batches(lambda ids: pl.Series(np.isin(hash_text(ids), items)), pl.Boolean)
            frame = lazy.select(self._id, *shown).filter(wanted).collect()
        except (PolarsError, OSError, MarmError):
            return {}
        keys = hash_text(frame[self._id]).tolist()
        return {key: {name: _short(value) for name, value in row.items() if value is not None}
                for key, row in zip(keys, frame.select(shown).to_dicts(), strict=True)}  # fmt: skip

    def _is_shown(self, name: str, kind: pl.DataType) -> bool:
        inner = kind.inner if isinstance(kind, pl.List) else kind
        return name != self._id and name not in self._vectors and not inner.is_nested() and inner != pl.Binary


class UserNames:
    """Users of the newest events of a log that may grow, found by a part of their id; events are read once, on first use."""

    def __init__(self, log: EventLog, most_events: int) -> None:
        self._log, self._read = log, max(0, len(log) - most_events)
        self._held = pl.DataFrame(schema={"hash": pl.UInt64, "text": pl.String, "folded": pl.String})

    def told(self, users: dict[int, Any]) -> None:
        """Add users who are not in the log yet, by hash."""
        if users:
            self._add(pl.Series([text_of(user) for user in users.values()], dtype=pl.String))

    def find(self, part: str, most: int) -> list[tuple[int, int | str]]:
        """Hash and id of users whose id holds ``part``, in any case: whole ids first, then beginnings."""
        self._refresh()
        part = part.lower()
        folded = pl.col("folded")
        rank = pl.when(folded == part).then(0).when(folded.str.starts_with(part)).then(1).otherwise(2)
        held = self._held.filter(folded.str.contains(part, literal=True)) if part else self._held
        return self._named(held.with_columns(rank.alias("rank")).bottom_k(most, by=["rank", "folded"]))

    def draw(self, most: int) -> list[tuple[int, int | str]]:
        """Hash and id of random users."""
        self._refresh()
        drawn = np.random.default_rng().permutation(len(self._held))[:most]
        return self._named(self._held[drawn])

    def _named(self, frame: pl.DataFrame) -> list[tuple[int, int | str]]:
        return list(zip(frame["hash"], self._log.as_prepared("user", frame["text"]), strict=True))

    def _refresh(self) -> None:
        parts = []
        while self._read < len(self._log):
            high = min(self._read + _AT_ONCE, len(self._log))
            users = self._log.originals(self._read, high)["user"]
            parts.append(as_text(users.unique()))
            self._read = high
        if parts:
            self._add(pl.concat(parts))

    def _add(self, texts: pl.Series) -> None:
        new = pl.DataFrame({"text": texts}).unique()
        new = new.with_columns(pl.Series("hash", hash_text(new["text"])), folded=pl.col("text").str.to_lowercase())
        new = new.select(self._held.columns)
        self._held = pl.concat([self._held, new]).unique("hash", keep="first", maintain_order=True)


def _keep(kept: OrderedDict[int, Any], found: dict[int, Any]) -> None:
    """Note what was found, and let go of what was asked for longest ago."""
    for key, value in found.items():
        kept[key] = value
        kept.move_to_end(key)
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(part) for part in value[:_MOST_PARTS] if part is not None]
    if isinstance(value, (bool, int)) or (isinstance(value, float) and np.isfinite(value)):
        return value
    return str(value)[:_MOST_TEXT]
