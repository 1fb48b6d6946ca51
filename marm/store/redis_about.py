"""What a store in Redis says of itself, in one key: its layout, and which generation of it serves."""

import json
from dataclasses import asdict, dataclass

from marm.errors import FolderError
from marm.store.base import Layout

_FORMAT, _WITH_GENERATIONS = 1, 2


@dataclass(frozen=True)
class About:
    """The generation that serves; the first one's keys have no number."""

    layout: Layout
    generation: int = 0
    offset: int = 0
    """Added to the number of a cut where it is written: rows of this generation were written by lower numbers."""

    def text(self) -> str:
        """For the key; a store without generations is as it was before there were some."""
        if not self.generation:
            return json.dumps({"format": _FORMAT, **asdict(self.layout)})
        serving = {"generation": self.generation, "offset": self.offset}
        return json.dumps({"format": _WITH_GENERATIONS, **serving, **asdict(self.layout)})

    @staticmethod
    def of(text: bytes | None, url: str) -> "About":
        """What the key says. Errors: ``FolderError`` where it is not there, or of another version."""
        if text is None:
            raise FolderError(f"{url}: holds no store: train into it first, or mend memory.url")
        held = json.loads(text)
        if held.pop("format") not in (_FORMAT, _WITH_GENERATIONS):
            raise FolderError(f"{url}: written by another version of marm: name a new store in memory.url")
        generation, offset = held.pop("generation", 0), held.pop("offset", 0)
        return About(Layout(**held), generation, offset)
