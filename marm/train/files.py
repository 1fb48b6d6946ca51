"""Small files of a run folder: lines that are appended and cut short on resume, texts that are replaced whole."""

import json
import os
from pathlib import Path
from typing import Any

from marm.errors import DiskError


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


def write_text(path: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old text or the new one."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DiskError(path, error) from None
