"""Lines of a run folder that are appended, and cut short on resume."""

import json
import os
from pathlib import Path
from typing import Any

from marm.errors import DiskError

_TAIL = 2**18
"""Bytes at the end in which the last line is looked for."""


class Lines:
    """A file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: dict[str, Any]) -> None:
        """Add one line."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise DiskError(self.path, error) from None

    def last(self) -> dict[str, Any] | None:
        """The last whole line, whoever else appends; None where there is none, or it begins too far back."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            *whole, _ = file.read().split(b"\n")
        try:
            line: dict[str, Any] = json.loads(whole[-1] if whole else b"")
        except ValueError:
            return None
        return line

    def flush(self) -> int:
        """Make it durable; its size in bytes."""
        try:
            with self.path.open("ab") as file:
                os.fsync(file.fileno())
                return file.tell()
        except OSError as error:
            raise DiskError(self.path, error) from None

    def truncate(self, size: int) -> None:
        """Keep the first ``size`` bytes."""
        with self.path.open("r+b") as file:
            file.truncate(size)
