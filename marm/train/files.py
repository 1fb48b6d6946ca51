"""Lines of a run folder that are appended, and cut short on resume."""

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
