"""From a growing folder of files to the stream: each new one is taken once, whole, by its name's order."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.data.aside import Aside
from marm.data.formats import format_of
from marm.data.grow import Grower
from marm.data.journal import ItemJournal
from marm.data.known import known_in_order
from marm.data.live import ROW, LiveLog
from marm.data.order import ordered
from marm.data.source import Log, find_files, schema_of
from marm.data.stream import EventLog
from marm.errors import DataError, DiskError
from marm.types import I64

_NAMED = 1000
"""Rows (1-based, of the file's data) that the line of a file's late rows names."""
PATIENCE = 30.0
"""Seconds that a file may be unreadable, or nothing be there, before it is told; once each."""
SETTLED, LONG_AGO = 2.0, 60.0
"""Seconds that a file of text must have stood unchanged while it was watched, or by its own time, which may be of another
clock: Parquet has an end that says that it is whole, text has none."""

_log = logging.getLogger("marm.follow")


class GrowingFolder:
    """Files that match a pattern as a source of events; those that the run was trained on are not taken again.

    A file must appear whole (write beside, then rename): one that is empty or cannot be read yet is tried again later, and
    a warning tells of it after ``PATIENCE`` seconds; one of text is waited for while it grows, and those after it with it.
    """

    def __init__(self, run: RunConfig, folder: Path, log: EventLog, grower: Grower, pattern: str) -> None:
        self.run, self._log, self._grower, self._pattern = run, log, grower, pattern
        growth = log.manifest.growth
        self.counts = dict(growth.counts)
        self._waited: dict[str, float] = {}
        """Since when each thing that is waited for is, until it comes; infinite once that was told."""
        self._looks: dict[Path, tuple[tuple[int, int], float]] = {}
        """Size and time of change of a file that may still grow, and since when it looks so."""
        self._live, self._items = LiveLog(run, folder / "events"), ItemJournal(folder, log)
        self._aside, self._in_order = Aside(folder, growth.sides), known_in_order(run, log)

    def __len__(self) -> int:
        """Files that may still grow: one at most, since those after it are not looked at."""
        return len(self._looks)

    def lag(self) -> int | None:
        """Nobody counts files."""
        return None

    def close(self) -> None:
        """It holds nothing."""

    def note(self) -> None:
        """Everything is durable already."""

    def poll(self, now: float) -> bool:
        """Take the next new file; whether there was one."""
        waits: dict[str, str] = {}
        for path in self._new_files(waits):
            try:
                schema = schema_of(path)
                if schema and self._grows(path, now):
                    return False
            except DataError as error:
                waits[str(path)] = str(error)
                continue
            if not schema:
                waits[str(path)] = f"{path}: empty"
                continue
            self._take(path, schema)
            return True
        self._wait(waits, now)
        return False

    def _new_files(self, waits: dict[str, str]) -> list[Path]:
        try:
            found = find_files(Path(), self._pattern)
        except DataError as error:
            waits[self._pattern] = str(error).removesuffix(": set data.log and data.path")
            return []
        taken = set(self._grower.manifest.taken)
        return [path for path in found if str(path.resolve()) not in taken]

    def _grows(self, path: Path, now: float) -> bool:
        """Whether a file of text may not be whole yet."""
        before, self._looks = self._looks.get(path), {}
        if format_of(path) == "parquet":
            return False
        found = path.stat()
        look = found.st_size, found.st_mtime_ns
        since = before[1] if before and before[0] == look else now
        if now - since >= SETTLED or now - found.st_mtime >= LONG_AGO:
            return False
        self._looks = {path: (look, since)}
        return True

    def _wait(self, waits: dict[str, str], now: float) -> None:
        """Tell once of what has been waited for too long; ``waits`` says why for each."""
        self._waited = {name: self._waited.get(name, now) for name in waits}
        for name, since in self._waited.items():
            if now - since >= PATIENCE:
                self._waited[name] = float("inf")
                _log.warning("%s; not to be read for %.0f s, tried again and again", waits[name], now - since)

    def _take(self, path: Path, schema: dict[str, pl.DataType]) -> None:
        manifest = self._grower.manifest
        until = max(manifest.growth.until, manifest.last_time)
        frames, rows, dropped = [], 0, 0
        try:
            columns = {name: pl.col(name) for name in schema}
            for _, frame in Log([path], [schema], schema).frames(columns):
                filed = self._live.filed(frame, path.name).with_columns(pl.col(ROW) + rows)
                stream, gone = self._convert(filed, path, manifest.log_rows)
                frames.append(self._in_time(stream, path, until))
                rows, dropped = rows + frame.height, dropped + gone
        except DataError as error:
            # As a whole it is not like the log: counted, and never looked at again.
            frames, rows, dropped = [], 0, 0
            self._reject(path, None, str(error))
        block = pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()
        if block.height:
            block = ordered(block.sort("time", maintain_order=True))
            block = self._in_order(block) if self._in_order else block
        self._append(path, block, rows, dropped)

    def _convert(self, frame: pl.DataFrame, path: Path, first: int) -> tuple[pl.DataFrame, int]:
        return self._live.convert(frame, first, lambda row, reason: self._reject(path, row, reason))

    def _in_time(self, stream: pl.DataFrame, path: Path, until: int) -> pl.DataFrame:
        late = stream["time"].to_numpy() < until
        if late.any():
            gone: I64 = stream["row"].to_numpy()[late] - self._grower.manifest.log_rows + 1
            self._count("late", len(gone))
            self._aside.late("late", {"file": str(path), "count": len(gone), "rows": gone[:_NAMED].tolist()})
        return stream.filter(pl.Series(np.logical_not(late)))

    def _reject(self, path: Path, row: int | None, reason: str) -> None:
        self._count("rejected")
        self._aside.rejected(reason, {"file": str(path)} | ({} if row is None else {"row": row + 1}))

    def _count(self, what: str, many: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + many

    def _append(self, path: Path, block: pl.DataFrame, rows: int, dropped: int) -> None:
        manifest = self._grower.manifest
        self._count("events", block.height)
        try:
            sides = self._aside.flush()
        except OSError as error:
            raise DiskError(self._grower.folder, error) from None
        until = max(manifest.growth.until, int(block["time"][-1]) if block.height else 0)
        old = manifest.growth
        growth = {"settled": old.settled, "read": old.read, "until": until,
                  "counts": dict(self.counts), "items": self._items.end(), "sides": sides}  # fmt: skip
        self._grower.append(
            [block] if block.height else [],
            growth,
            log_rows=manifest.log_rows + rows,
            dropped=manifest.dropped + dropped,
            files=[*manifest.files, (path.name, manifest.log_rows)],
            taken=[*manifest.taken, str(path.resolve())],
        )
        self._log.refresh()
