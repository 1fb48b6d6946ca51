"""The newest event of each item: what the log last said of it."""

import numpy as np
import polars as pl

from marm.data.stream import EventLog
from marm.data.told import Logged
from marm.types import I64, U64

_CHUNK = 2**20


class LastSeen:
    """Looks items up in a log that may grow; reads each event once."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._items: U64 = np.zeros(0, np.uint64)
        self._event: I64 = np.zeros(0, np.int64)
        self._read = 0

    def last(self, items: U64) -> I64:
        """Number of each item's last event (n,); -1 for one never seen."""
        self._refresh()
        if not len(self._items):
            return np.full(len(items), -1)
        at = np.minimum(np.searchsorted(self._items, items), len(self._items) - 1)
        return np.where(self._items[at] == items, self._event[at], -1)

    def columns(self, items: U64) -> U64:
        """Logged categories of items (n, C) as their last exposure had them; zeros for an item never seen."""
        out = np.zeros((len(items), len(self._log.manifest.columns["item"])), np.uint64)
        if out.size:
            last = self.last(items)
            out[last >= 0] = self._log.item_columns(last[last >= 0])
        return out

    def fill(self, block: pl.DataFrame, told: Logged) -> pl.DataFrame:
        """Rows of the stream, with logged categories of items that they do not say as told, or as last seen."""
        names = [f"item.{name}" for name in self._log.manifest.columns["item"]]
        if not names:
            return block
        items = block["item"].to_numpy()
        last = told.over(items, self.columns(items))
        said = [block[name].to_numpy() for name in names]
        return block.with_columns(
            pl.Series(name, np.where(own == 0, last[:, c], own))
            for c, (name, own) in enumerate(zip(names, said, strict=True))
        )

    def _refresh(self) -> None:
        for low in range(self._read, len(self._log), _CHUNK):
            high = min(low + _CHUNK, len(self._log))
            items = np.concatenate([self._items, self._log.item_hashes(np.arange(low, high))])[::-1]
            event = np.concatenate([self._event, np.arange(low, high)])[::-1]
            self._items, first = np.unique(items, return_index=True)
            self._event = event[first]
        self._read = len(self._log)
