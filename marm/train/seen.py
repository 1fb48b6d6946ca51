"""Which items a stream has shown, and when last."""

import numpy as np

from marm.data.stream import EventLog
from marm.store.slots import SlotMap
from marm.types import I64, U64


class SeenItems:
    """The last event of each item of a stream; read once, when first asked."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._map: SlotMap | None = None
        self._last: I64 = np.zeros(0, np.int64)

    def last(self, item: U64) -> I64:
        """Number of each item's last event (n,); -1 for one never seen."""
        if self._map is None:
            self._map = SlotMap()
            for low in range(0, len(self._log), 2**20):
                hashes = self._log.read(low, min(low + 2**20, len(self._log))).item
                at = self._map.insert(hashes)
                grown = np.zeros(self._map.top, np.int64)
                grown[: len(self._last)] = self._last
                grown[at] = low + np.arange(len(hashes))
                self._last = grown
        at = self._map.find(item)
        return np.where(at >= 0, self._last[at], -1) if len(self._last) else at

    def columns(self, item: U64) -> U64:
        """Logged categories of items, as their last exposure had them (n, C); 0 for an item never seen."""
        out = np.zeros((len(item), len(self._log.manifest.columns["item"])), np.uint64)
        if out.shape[1]:
            last = self.last(item)
            out[last >= 0] = self._log.item_columns(last[last >= 0])
        return out
