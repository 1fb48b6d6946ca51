"""Candidates where no retrieval stage was trained: the most popular items of late, and those that were added since."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.server.catalogue import Catalogue
from marm.types import U64

_ANEW = 2.0
"""Seconds after which counts that changed are taken anew."""


class Popular:
    """Counts items among the newest events, those that were served included."""

    def __init__(self, run: RunConfig, log: EventLog, catalogue: Catalogue) -> None:
        self._most, self._catalogue, self._log = run.serve.popular, catalogue, log
        low = max(0, len(log) - run.serve.popular_events)
        self._numbers = np.arange(low, len(log))
        self._window: deque[int] = deque(log.item_hashes(self._numbers).tolist(), run.serve.popular_events)
        self._named: dict[int, Any] = {}
        self._top: U64 = np.zeros(0, np.uint64)
        self._stale, self._counted = True, float("-inf")

    def add(self, items: Sequence[int], named: Sequence[Any]) -> None:
        """Items of events that were served, and their ids as told."""
        # Names first: what another thread counts meanwhile has one, here or in the log.
        self._named.update(zip(items, self._log.as_prepared("item", named), strict=True))
        self._window.extend(items)
        self._stale = True

    def top(self) -> U64:
        """The most popular items, then those added: at most ``serve.popular`` of each (n,)."""
        if self._stale and time.monotonic() > self._counted + _ANEW:
            self._count()
        added = [key for key in list(self._catalogue.told.names)[-self._most :] if key not in self._named_in_log]
        return np.concatenate([self._top, np.setdiff1d(np.array(added, np.uint64), self._top)])

    def names(self, items: U64) -> list[Any]:
        """Ids of items as the log or whoever told of them has them."""
        told = self._catalogue.told.names
        return [self._named.get(key) if key in self._named else told[key] for key in items.tolist()]

    def _count(self) -> None:
        self._stale, self._counted = False, time.monotonic()
        items, counts = np.unique(np.array(list(self._window), np.uint64), return_counts=True)
        top = items[np.lexsort((items, -counts))][: self._most]
        unnamed = np.array([key for key in top.tolist() if key not in self._named], np.uint64)
        if len(unnamed):
            held, last = np.unique(self._log.item_hashes(self._numbers)[::-1], return_index=True)
            at = np.searchsorted(held, unnamed)
            numbers = self._numbers[len(self._numbers) - 1 - last[at]]
            named = self._log.as_prepared("item", self._log.item_originals(numbers))
            self._named.update(zip(unnamed.tolist(), named, strict=True))
        self._top = top
        self._named_in_log = set(top.tolist())
