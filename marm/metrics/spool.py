"""Progressive predictions on disk: one record for each scored row, appended while training, cut short on resume.

    byte   0         8         16             24      25        32               32 + 4T          32 + 8T
           | number  | user    | item_number  | drawn | 7 zeros | scores (f4 x T) | labels (f4 x T) |
           | i8      | u8      | i8           | u1    |         | task 0 .. T-1   | NaN: not known  |

All little-endian, no header: record i begins at byte i x (32 + 8T). A piece of a record at the end (the process died in
a write) is not counted and is overwritten.
"""

import os
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from marm.errors import DiskError
from marm.types import F32, I64, U64, Bool

Records = NDArray[np.void]
"""Structured array with the fields of a record."""


def record_type(tasks: int) -> np.dtype[np.void]:
    """The layout of a record."""
    names = ["number", "user", "item_number", "drawn", "scores", "labels"]
    formats: list[Any] = ["<i8", "<u8", "<i8", "u1", ("<f4", (tasks,)), ("<f4", (tasks,))]
    offsets = [0, 8, 16, 24, 32, 32 + 4 * tasks]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": 32 + 8 * tasks})


class Spool:
    """An append-only file of predictions, in stream order; the drawn rows of an event follow it."""

    def __init__(self, path: Path, tasks: list[str]) -> None:
        self.path = path
        self.tasks = tasks
        self.type = record_type(len(tasks))
        self._file: IO[bytes] | None = None
        self._count = path.stat().st_size // self.type.itemsize if path.exists() else 0

    def __len__(self) -> int:
        return self._count

    def append(self, number: I64, user: U64, item_number: I64, drawn: Bool, scores: F32, labels: F32) -> None:
        """Write records of (n,) and (n, T) columns; ``DiskError`` where the disk refuses, and nothing was appended."""
        records = np.zeros(len(number), self.type)
        columns = (number, user, item_number, drawn, scores, labels)
        for name, column in zip(("number", "user", "item_number", "drawn", "scores", "labels"), columns, strict=True):
            records[name] = column
        try:
            self._write(records.tobytes())
        except OSError as error:
            raise DiskError(self.path, error) from None
        self._count += len(records)

    def flush(self) -> int:
        """Make what was appended safe against a power cut; the number of records."""
        try:
            os.fsync(self._open().fileno())
        except OSError as error:
            raise DiskError(self.path, error) from None
        return self._count

    def truncate(self, records: int) -> None:
        """Keep the first ``records``; arrays read before must not be used after."""
        assert 0 <= records <= self._count, f"{self.path} holds {self._count} records, cannot keep {records}"
        try:
            self._open().truncate(records * self.type.itemsize)
        except OSError as error:
            raise DiskError(self.path, error) from None
        self._count = records

    def erase(self, users: U64) -> int:
        """Make these users' records nobody's, with no outcome known, in place; how many. Errors: ``DiskError``."""
        if not self._count:
            return 0
        try:
            records = np.memmap(self.path, self.type, "r+", 0, (self._count,))
            mine = np.flatnonzero(np.isin(records["user"], users))
            records["user"][mine] = 0
            records["labels"][mine] = np.nan
            records.flush()
        except OSError as error:
            raise DiskError(self.path, error) from None
        return len(mine)

    def read(self, lo: int, hi: int) -> Records:
        """Records ``lo`` to ``hi``, mapped and read-only: fields number, user, item_number, drawn, scores, labels."""
        assert 0 <= lo <= hi <= self._count, f"{self.path} holds {self._count} records, not {lo} to {hi}"
        if lo == hi:
            return np.zeros(0, self.type)
        return np.memmap(self.path, self.type, "r", lo * self.type.itemsize, (hi - lo,))

    def close(self) -> None:
        """Close the file; the spool opens it again when asked to write."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self.path.touch()
            self._file = self.path.open("r+b", buffering=0)
        return self._file

    def _write(self, data: bytes) -> None:
        file, rest = self._open(), memoryview(data)
        file.seek(self._count * self.type.itemsize)
        while rest:
            rest = rest[file.write(rest) :]
