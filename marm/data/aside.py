"""Files of what was not learned: JSON lines, durable as far as the manifest says, cut back to that on opening."""

import json
import os
from pathlib import Path
from typing import Any


class Aside:
    """Collects lines for files of a folder, and writes them when they are to be made durable."""

    def __init__(self, folder: Path, sizes: dict[str, int]) -> None:
        """``sizes``: bytes of each file that count; what is beyond was written by a process that died."""
        self._folder, self._sizes = folder, dict(sizes)
        self._lines: dict[str, list[str]] = {}
        for path in (folder / "late.ndjson", folder / "rejected.ndjson"):
            if path.exists():
                os.truncate(path, min(path.stat().st_size, self._sizes.get(path.name, 0)))

    def late(self, why: str, told: dict[str, Any]) -> None:
        """Something that came too late, twice, or to nobody."""
        self._lines.setdefault("late.ndjson", []).append(json.dumps({"why": why, **told}))

    def rejected(self, reason: str, told: dict[str, Any]) -> None:
        """Something that cannot be read."""
        self._lines.setdefault("rejected.ndjson", []).append(json.dumps({"reason": reason, **told}))

    def flush(self) -> dict[str, int]:
        """Write what was collected; bytes of each file. Errors: ``OSError``, and the lines stay collected."""
        for name, lines in self._lines.items():
            with (self._folder / name).open("ab") as file:
                # What an earlier try left half written goes first.
                file.truncate(self._sizes.get(name, 0))
                file.write("".join(line + "\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
                self._sizes[name] = file.tell()
        self._lines.clear()
        return dict(self._sizes)
