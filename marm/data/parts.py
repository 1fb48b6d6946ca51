"""The stream on disk: parts of equal length, parts of any length appended since, and a manifest that says what is in them.

events/   manifest.json   columns.arrow   items.arrow   users.arrow   part-00000.arrow ...   events-210000-210256.arrow ...
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from marm.data.arrow import map_batch, write_batch
from marm.data.columns import How
from marm.data.events import Tags
from marm.data.place import START, Mark, mark_of
from marm.errors import FolderError
from marm.files import sync, write_text

MANIFEST = "manifest.json"
COLUMNS = "columns.arrow"
"""No rows, and the log's columns in their own types: what is served is written like this before it becomes events."""


class Appended(NamedTuple):
    """A part that was appended; no step of learning goes over its end."""

    end: int
    """One past its last event."""
    settled: Mark
    """Everything of the inbox or topic before it is in the stream up to here, or never will be."""
    read: Mark
    """No event up to here came later in it."""
    items: int = 0
    """Bytes of the journal of items that were there before it."""


@dataclass(frozen=True)
class Growth:
    """What was appended to a prepared log since, and how far that was read from where."""

    parts: tuple[Appended, ...] = ()
    read: Mark = START
    """What is followed was read up to here, and what is counted was counted."""
    settled: Mark = START
    """Everything of it before it is in the stream, or never will be."""
    until: int = 0
    """Microseconds: everything up to this time was taken, so what is older comes too late."""
    counts: dict[str, int] = field(default_factory=dict)
    """Records that came, by what became of them."""
    items: int = 0
    """Bytes of the journal of items that were there when this was written."""
    sides: dict[str, int] = field(default_factory=dict)
    """Bytes of the files beside that hold what was not learned."""
    begun: Mark = START
    """What was prepared ends here, if it was prepared from a topic."""
    frontier: float = 0.0
    """Seconds: outcomes without an event that came so long before were given up and counted."""

    @classmethod
    def of(cls, raw: dict[str, Any]) -> "Growth":
        """From JSON."""
        parts = tuple(Appended(end, mark_of(settled), mark_of(read), *items)
                      for end, settled, read, *items in raw["parts"])  # fmt: skip
        marks: dict[str, Any] = {name: mark_of(raw[name]) for name in ("read", "settled", "begun") if name in raw}
        return cls(**{**raw, **marks, "parts": parts})


@dataclass(frozen=True)
class Manifest:
    """What a prepared log holds."""

    rows: int
    """Events of the stream."""
    log_rows: int
    """Rows of the log."""
    dropped: int
    """Rows that ``data.where`` left out."""
    time_column: str
    time_unit: str
    """How times were read: seconds, milliseconds, microseconds, datetimes or ISO text."""
    sorted: bool
    """The log was in order of time already."""
    first_time: int
    """Microseconds."""
    last_time: int
    tasks: list[str]
    columns: dict[str, dict[str, str]]
    """Kinds of columns: of the log under item, user and context, of the side files under items and users."""
    widths: dict[str, int]
    """Of vectors, as ``context.name``, ``items.name`` ..."""
    part_rows: int
    """Rows of each part but the last."""
    files: list[tuple[str, int]]
    """The log's files, and the row at which each begins."""
    data_hash: str
    """Of all that the model can see: the same log read the same way has the same."""
    prepared: int
    """Events of the log as it was prepared; those after it were appended."""
    taken: list[str]
    """Paths of the files that are in the stream."""
    outstanding: int = 0
    """Most events of a user that waited for their outcomes at once, in the log as it was prepared."""
    growth: Growth = Growth()
    separators: dict[str, str] = field(default_factory=dict)
    """Of tags that are text, as ``widths``."""

    def how(self, group: str, name: str) -> How:
        """How a column is read; ``group`` as in ``columns``."""
        key, plain = f"{group}.{name}", How(self.columns[group][name])
        return How(plain.kind, self.widths.get(key, plain.width), self.separators.get(key, plain.separator))

    def write(self, folder: Path) -> None:
        """Write it as JSON into a folder, in place of the one that is there."""
        write_text(folder / MANIFEST, json.dumps(asdict(self), indent=None if self.growth.parts else 1))

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read it from a folder. Errors: ``FolderError`` where there is none."""
        try:
            raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            files = [(name, first) for name, first in raw["files"]]
            return cls(**{**raw, "files": files, "growth": Growth.of(raw["growth"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not one that this version wrote"
            raise FolderError(f"{folder}: no prepared events ({MANIFEST}: {reason}): prepare them anew") from None


def part_file(folder: Path, number: int) -> Path:
    """Where a part lies."""
    return folder / f"part-{number:05d}.arrow"


def appended_file(folder: Path, begin: int, end: int) -> Path:
    """Where an appended part lies, by its first event and one past its last."""
    return folder / f"events-{begin:012d}-{end:012d}.arrow"


def write_durable(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as one record batch, down to the disk."""
    write_batch(frame, path)
    sync(path)


def add_columns(digest: "hashlib.blake2b", columns: Mapping[str, object]) -> None:
    """Let arrays by name count in a hash."""
    for name, column in columns.items():
        digest.update(name.encode())
        for array in (column.values, column.offsets) if isinstance(column, Tags) else (column,):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)


class PartWriter:
    """Cuts blocks of the stream into parts of equal length, and hashes what a model can see of them."""

    def __init__(self, folder: Path, part_rows: int) -> None:
        self._folder = folder
        self._part_rows = part_rows
        self._waiting: list[pl.DataFrame] = []
        self._rows_waiting = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self.parts = 0
        self.rows = 0

    def add(self, block: pl.DataFrame) -> None:
        """Take the next block of the stream; whole parts go to disk."""
        self._waiting.append(block)
        self._rows_waiting += block.height
        self.rows += block.height
        if self._rows_waiting >= self._part_rows:
            self._write_whole()

    def finish(self) -> None:
        """Write what is left."""
        if self._rows_waiting:
            self._write(pl.concat(self._waiting))

    def add_to_hash(self, columns: Mapping[str, object]) -> None:
        """Let arrays by name count in the hash."""
        add_columns(self._digest, columns)

    def data_hash(self) -> str:
        """The hash of everything added."""
        return self._digest.hexdigest()

    def _write_whole(self) -> None:
        frame = pl.concat(self._waiting)
        whole = frame.height // self._part_rows * self._part_rows
        for begin in range(0, whole, self._part_rows):
            self._write(frame[begin : begin + self._part_rows])
        self._waiting = [frame[whole:]]
        self._rows_waiting = frame.height - whole

    def _write(self, frame: pl.DataFrame) -> None:
        path = part_file(self._folder, self.parts)
        write_durable(frame, path)
        self.add_to_hash(map_batch(path))
        self.parts += 1
