"""A prepared log that grows: parts of any length behind it, and a manifest that is replaced when they are durable."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from marm.data.arrow import map_batch
from marm.data.parts import Appended, Manifest, add_columns, appended_file, write_durable
from marm.errors import DiskError
from marm.files import hold, release, sync

MERGE_AT = 64
"""Appended parts that are made one."""


class Grower:
    """Appends events to a prepared log; one process at a time. Errors: ``FolderError`` where another one does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = hold(folder / "lock", f"{folder}: another process appends to it: stop it first")
        try:
            self.manifest = Manifest.read(folder)
            self._drop_strays()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process append."""
        release(self._lock)

    def append(self, blocks: Iterable[pl.DataFrame], growth: dict[str, Any], **changes: Any) -> None:
        """Append blocks in the stream's order, a part each, all or none, with what changes in the manifest by it.

        ``growth``: fields of ``Growth`` that change. Errors: ``DiskError``; then the log is as it was.
        """
        old = self.manifest
        rows, last_time, data_hash, parts = old.rows, old.last_time, old.data_hash, list(old.growth.parts)
        grown = replace(old.growth, **growth)
        try:
            for block in blocks:
                path = appended_file(self.folder, rows, rows + block.height)
                write_durable(block, path)
                data_hash = _chained(data_hash, path)
                rows, last_time = rows + block.height, int(block["time"][-1])
                parts.append(Appended(rows, grown.settled, grown.read, grown.items))
            grown = replace(grown, parts=tuple(parts))
            self._replace(replace(old, rows=rows, last_time=last_time, data_hash=data_hash, growth=grown, **changes))
        except OSError as error:
            raise DiskError(self.folder, error) from None

    def merge(self, before: int) -> None:
        """Make one part of many small ones, of those that end at or before ``before``: no step begins there any more."""
        old = self.manifest
        begin, at = self._first_small()
        end = at
        while end < len(old.growth.parts) and old.growth.parts[end].end <= min(before, begin + old.part_rows):
            end += 1
        if end - at < MERGE_AT:
            return
        gone, parts = old.growth.parts[at:end], old.growth.parts
        try:
            self._drop_strays()
            frames = [pl.read_ipc(path) for path in self._paths(begin, gone)]
            write_durable(pl.concat(frames, how="vertical_relaxed"), appended_file(self.folder, begin, gone[-1].end))
            merged = (*parts[:at], gone[-1], *parts[end:])
            # The small ones stay until the next merge: another process may hold a manifest that names them.
            self._replace(replace(old, growth=replace(old.growth, parts=merged)))
        except OSError as error:
            raise DiskError(self.folder, error) from None

    def _first_small(self) -> tuple[int, int]:
        """The first event and place of the first appended part after the last one that is half full."""
        begin, found = self.manifest.prepared, (self.manifest.prepared, 0)
        for at, part in enumerate(self.manifest.growth.parts, 1):
            if part.end - begin > self.manifest.part_rows // 2:
                found = (part.end, at)
            begin = part.end
        return found

    def _paths(self, begin: int, parts: Iterable[Appended]) -> list[Path]:
        ends = [begin, *(part.end for part in parts)]
        return [appended_file(self.folder, lo, hi) for lo, hi in pairwise(ends)]

    def _replace(self, manifest: Manifest) -> None:
        sync(self.folder)
        manifest.write(self.folder)
        sync(self.folder)
        self.manifest = manifest

    def _drop_strays(self) -> None:
        """Delete parts that the manifest does not name: merged ones, and those of an append that was interrupted."""
        named = set(self._paths(self.manifest.prepared, self.manifest.growth.parts))
        for path in self.folder.glob("events-*.arrow"):
            if path not in named:
                path.unlink()


def _chained(data_hash: str, path: Path) -> str:
    digest = hashlib.blake2b(data_hash.encode(), digest_size=16)
    add_columns(digest, map_batch(path))
    return digest.hexdigest()
