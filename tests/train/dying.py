"""A process that ends at one of the calls after which the disk is another."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from marm.store import LmdbStore

PLACES: tuple[tuple[Any, str], ...] = (
    (os, "fsync"),
    (os, "pwrite"),
    (Path, "replace"),
    (Path, "unlink"),
    (LmdbStore, "append"),
    (LmdbStore, "copy_rows"),
)


@contextmanager
def ended_by_append(patch: pytest.MonkeyPatch, store: type[Any], number: int) -> Iterator[None]:
    """What is done inside ends, which is awaited, once a store of this kind has appended a cut of this number."""
    append = store.append

    def dies(self: object, rows: object, cut: int) -> None:
        append(self, rows, cut)
        if cut == number:
            raise KeyboardInterrupt

    with patch.context() as inner, pytest.raises(KeyboardInterrupt):
        inner.setattr(store, "append", dies)
        yield


class Dies(BaseException):
    """The end of the process: nothing catches it."""


class Death:
    """Counts calls, and comes at one of them, before it is done."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls, self.at = 0, -1
        for owner, name in PLACES:
            patch.setattr(owner, name, self._watched(getattr(owner, name)))

    def arm(self, at: int) -> None:
        """Come at this call from now on; -1: never."""
        self.calls, self.at = 0, at

    def _watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def one(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                raise Dies
            return real(*args, **named)

        return one
