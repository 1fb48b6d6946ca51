"""Places in what is followed, and how far it was read: an inbox has one order of lines, a topic one in each partition."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Position(NamedTuple):
    """A place between two lines of an inbox; places compare in the order of writing, and are ``[file, offset]`` in JSON."""

    file: int = 1
    offset: int = 0

    def holds(self, place: "Place") -> bool:
        """Whether what begins at a place lies before this one."""
        return isinstance(place, Position) and place < self

    def covers(self, other: "Mark") -> bool:
        """Whether all that lies before ``other`` lies before this."""
        return isinstance(other, Position) and other <= self


class Spot(NamedTuple):
    """A message of a topic; its lane is ``topic/partition``."""

    lane: str
    offset: int


class Offsets(dict[str, int]):
    """The next message of each lane; an object of lanes and offsets in JSON."""

    def holds(self, place: "Place") -> bool:
        """Whether a message lies before the next one of its lane."""
        return isinstance(place, Spot) and place.offset < self.get(place.lane, 0)

    def covers(self, other: "Mark") -> bool:
        """Whether all that lies before ``other`` lies before this."""
        return isinstance(other, Offsets) and all(offset <= self.get(lane, 0) for lane, offset in other.items())


Place = Position | Spot
"""Where a record begins."""
Mark = Position | Offsets
"""How far was read."""
START = Position()


def mark_of(raw: Any) -> Mark:
    """From JSON."""
    return Offsets(raw) if isinstance(raw, dict) else Position(*raw)


def place_of(raw: Any) -> Place:
    """From JSON: ``[file, offset]`` or ``[lane, offset]``."""
    first, offset = raw
    return Spot(first, offset) if isinstance(first, str) else Position(first, offset)


def first_of(places: Iterable[Place], read: Mark) -> Mark:
    """Everything before it lies before all of these places, where was read up to ``read``."""
    if isinstance(read, Position):
        return min((place for place in places if isinstance(place, Position)), default=read)
    out = Offsets(read)
    for lane, offset in places:
        if isinstance(lane, str) and offset < out[lane]:
            out[lane] = offset
    return out
