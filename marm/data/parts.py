"""The stream on disk: parts of equal length, and a manifest that says what is in them."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from marm.data.arrow import map_batch, write_batch
from marm.data.events import Tags
from marm.errors import FolderError

MANIFEST = "manifest.json"


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

    def write(self, folder: Path) -> None:
        """Write it as JSON into a folder."""
        with (folder / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read it from a folder. Errors: ``FolderError`` where there is none."""
        try:
            raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            return cls(**{**raw, "files": [(name, first) for name, first in raw["files"]]})
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not one that this version wrote"
            raise FolderError(f"{folder}: no prepared events ({MANIFEST}: {reason}): prepare them anew") from None


def part_file(folder: Path, number: int) -> Path:
    """Where a part lies."""
    return folder / f"part-{number:05d}.arrow"


def write_durable(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as one record batch, down to the disk."""
    write_batch(frame, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
        for name, column in columns.items():
            self._digest.update(name.encode())
            for array in (column.values, column.offsets) if isinstance(column, Tags) else (column,):
                self._digest.update(np.ascontiguousarray(array).view(np.uint8).data)

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
