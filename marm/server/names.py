"""Items as the log has them, by hash: what an index of hashes cannot say."""

from typing import Any

import numpy as np

from marm.data.stream import EventLog
from marm.types import I64, U64


class Names:
    """Grows with the catalogue, and is kept over cuts: what is known is not read again."""

    def __init__(self) -> None:
        self._names: dict[int, Any] = {}

    def learn(self, log: EventLog, items: U64, events: I64) -> None:
        """Names of items (n,), each read from one of its events."""
        new = np.array([at for at, key in enumerate(items.tolist()) if key not in self._names], np.int64)
        if len(new):
            originals = log.item_originals(events[new]).to_list()
            self._names.update(zip(items[new].tolist(), originals, strict=True))

    def of(self, items: U64) -> list[Any]:
        """Names of items that were learned."""
        return [self._names[key] for key in items.tolist()]
