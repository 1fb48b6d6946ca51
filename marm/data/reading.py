"""What a follower reads from: records in batches, with the place of each, from an inbox or a topic."""

from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from marm.data import inbox
from marm.data.place import Mark, Place, Position
from marm.data.record import Records, parse_all


class Batch(NamedTuple):
    """Records that were read at once."""

    told: Records
    places: Sequence[Place]
    """Of each record."""
    text: Callable[[int], str]
    """What came, of a record by its number, for people who look at what was put aside."""
    end: Mark
    """How far was read with it."""
    more: bool = True
    """Whether it is worth asking again at once."""
    lost: int = 0
    """Messages that were gone before they were read."""


class Reader(Protocol):
    """Reads on from where it was opened."""

    def read(self, now: float) -> Batch | None:
        """What comes next; None where nothing is there now."""
        ...

    def frontier(self, now: float) -> float:
        """Seconds: all that was sent before was read, once there is nothing more to read."""
        ...

    def early(self) -> bool:
        """Whether outcomes may be read before their event."""
        ...

    def lag(self) -> int | None:
        """Messages that were sent and not read yet; None where nobody counts them."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class InboxReader:
    """The inbox of a run folder, in the order of its lines."""

    def __init__(self, folder: Path, since: Position) -> None:
        self._folder, self._at = folder, since

    def read(self, now: float) -> Batch | None:
        """Some lines of one file."""
        del now
        lines, self._at = inbox.read(self._folder, self._at)
        if not lines:
            return None
        size = np.array([len(line) + 1 for line in lines])
        begin = self._at.offset - np.cumsum(size[::-1])[::-1]
        places = list(map(Position._make, zip(repeat(self._at.file, len(lines)), begin.tolist(), strict=True)))
        return Batch(parse_all(lines), places, lambda number: lines[number].decode(errors="replace"), self._at)

    def frontier(self, now: float) -> float:
        """Now: it has one writer."""
        return now

    def early(self) -> bool:
        """Never: whoever tells of outcomes has told of the event."""
        return False

    def lag(self) -> int | None:
        """Nobody counts lines."""
        return None

    def close(self) -> None:
        """It holds nothing."""
