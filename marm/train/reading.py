"""Readers of a run folder that somebody may be training: the newest cut, and the store as of that cut."""

import time
from pathlib import Path

from marm.errors import FolderError
from marm.store import Store
from marm.store.asof import AsOf
from marm.store.base import Holding
from marm.train.cut import Cut, cut_numbers
from marm.train.setup import Wraps

_PATIENCE, _PAUSE = 2.0, 0.01
"""Seconds to wait for a cut that is visible to reach the store."""


class CutReader:
    """Shows a store as of the newest cut that it holds; ``cut`` says which one that was."""

    def __init__(self, folder: Path, wraps: Wraps) -> None:
        self.folder, self.wraps = folder, wraps
        self.cut: Cut | None = None

    def __call__(self, store: Store) -> Store:
        """Put what hides later rows before the store."""
        self.cut, holding = self._agree(store)
        return self.wraps.above(AsOf(self.wraps.below(store), holding))

    def _agree(self, store: Store) -> tuple[Cut, Holding]:
        deadline = time.monotonic() + _PATIENCE
        while True:
            late = time.monotonic() > deadline
            numbers, last = cut_numbers(self.folder), store.last_cut()
            # A trainer that died between the rename and the store leaves the store one cut behind, until it resumes.
            if last in numbers and (late or last == numbers[-1]):
                cut, holding = Cut(self.folder, last), store.holding()
                if store.last_cut() == last:
                    return cut, holding
            if late:
                raise FolderError(f"{self.folder}: its store holds cut {last}, the folder {numbers}: `marm resume` it")
            time.sleep(_PAUSE)
