"""From a log, however it lies, to the stream that everything else reads: checked, hashed, in order, in parts."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from marm.config import RunConfig, is_topic
from marm.data.arrow import map_batch
from marm.data.known import InOrder
from marm.data.labels import Tally
from marm.data.order import UnsortedError, blocks_by_bucket, blocks_in_order
from marm.data.outstanding import Outstanding
from marm.data.parts import COLUMNS, Manifest, PartWriter, write_durable
from marm.data.plan import Plan, make_plan, stop
from marm.data.rows import LABELS, edges, full, salvaged
from marm.data.side import side_file, write_side
from marm.data.snapshot import Snapshot
from marm.errors import DiskError, FolderError

Progress = Callable[[str, float], None]


def prepare(run: RunConfig, folder: Path, progress: Progress | None = None) -> Manifest:
    """Write a run's log as a stream under ``folder``, which appears whole or not at all.

    Errors: ``DataError`` for the first thing wrong in the log, ``FolderError`` if the folder is there already. Of a topic,
    what cannot be read is put aside in the folder above.
    """
    if folder.exists():
        raise FolderError(f"{folder} exists: remove it, or choose another folder")
    plan = None if is_topic(run.data.log) else make_plan(run, stop)
    beside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        manifest = (
            _Preparation(plan, beside, progress).run() if plan else _of_topic(run, folder.parent, beside, progress)
        )
        manifest.write(beside)
        beside.rename(folder)
    except OSError as error:
        raise DiskError(folder, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def _of_topic(run: RunConfig, out: Path, beside: Path, progress: Progress | None) -> Manifest:
    spool = beside / "topic"
    snapshot = Snapshot(run, out, spool)
    bad: dict[int, str] = {}
    plan = make_plan(snapshot.run, stop, [run.kafka.event_id])
    try:
        manifest = _Preparation(plan, beside, progress, bad.setdefault).run()
    finally:
        # Where nothing is left, why that is comes first.
        snapshot.refused(bad)
    shutil.rmtree(spool)
    return snapshot.noted(manifest)


class _Preparation:
    """One way through a log: in order as it lies, else by buckets on disk."""

    def __init__(
        self, plan: Plan, folder: Path, progress: Progress | None, refuse: Callable[[int, str], Any] | None = None
    ) -> None:
        """``refuse``: told of rows that cannot be read, which are then left out; else the first one ends it all."""
        self._plan, self._refuse = plan, refuse
        self._folder = folder
        self._progress = progress
        self._total = plan.log.count_rows() if progress else 0
        self._tally, self._outstanding = Tally(list(plan.run.tasks)), Outstanding()

    def run(self) -> Manifest:
        """Write parts and side files; returns what the manifest shall say."""
        widths = {f"{side.name}.{name}": width
                  for side in self._plan.sides for name, width in write_side(side, self._folder).items()}  # fmt: skip
        try:
            in_order = True
            writer = self._write(blocks_in_order(self._frames("reading")))
        except UnsortedError:
            in_order = False
            writer = self._write(self._by_bucket())
        for trouble in self._tally.troubles(self._plan.run, self._plan.log.name):
            stop(trouble)
        for side in self._plan.sides:
            writer.add_to_hash(map_batch(side_file(self._folder, side.name)))
        write_durable(pl.DataFrame(schema=self._plan.log.schema), self._folder / COLUMNS)
        return self._manifest(writer, in_order, widths)

    def _frames(self, stage: str) -> Iterator[pl.DataFrame]:
        reader = self._plan.reader
        for chunk in reader.chunks(self._plan.chunk_rows()):
            yield salvaged(chunk, self._plan, self._refuse) if self._refuse else full(chunk, self._plan, stop)
            if self._progress:
                self._progress(stage, min(1.0, reader.rows / max(self._total, 1)))

    def _by_bucket(self) -> Iterator[pl.DataFrame]:
        return blocks_by_bucket(self._frames("sorting"), edges(self._plan), self._folder / "buckets")

    def _write(self, blocks: Iterator[pl.DataFrame]) -> PartWriter:
        # Parts of a first way that was given up are written over: this one has at least as many.
        data = self._plan.run.data
        self._tally, self._outstanding = Tally(list(self._plan.run.tasks)), Outstanding()
        in_order = InOrder() if data.history is not None and data.feedback_delay != 0 else None
        writer, passed = PartWriter(self._folder, self._plan.part_rows()), 0
        for whole in map(in_order, blocks) if in_order else blocks:
            # What is not taken is read all the same: an earlier event may follow.
            late = whole[max(data.skip - passed, 0) :]
            passed += len(whole)
            block = late if data.first is None else late.head(max(data.first - writer.rows, 0))
            if not len(block):
                continue
            self._tally.add(block["time"].to_numpy(), block[LABELS].to_numpy())
            if data.feedback_delay != 0:
                self._outstanding.add(*(block[name].to_numpy() for name in ("user", "time", "known")))
            writer.add(block)
        writer.finish()
        return writer

    def _manifest(self, writer: PartWriter, in_order: bool, widths: dict[str, int]) -> Manifest:
        plan, reader, tally = self._plan, self._plan.reader, self._tally
        columns: dict[str, dict[str, str]] = {"item": {}, "user": {}, "context": {}, "items": {}, "users": {}}
        for feature in plan.features:
            columns[feature.group][feature.name] = feature.how.kind
            if feature.how.kind == "vector":
                widths[feature.column] = feature.how.width
        separators = {feature.column: feature.how.separator for feature in plan.features}
        for side in plan.sides:
            columns[side.name] = {name: feature.kind for name, feature in side.features.items()}
            separators |= {f"{side.name}.{name}": feature.separator for name, feature in side.features.items()}
        return Manifest(
            rows=writer.rows,
            log_rows=reader.rows,
            dropped=reader.dropped,
            time_column=plan.clock.column,
            time_unit=plan.clock.says(),
            sorted=in_order,
            first_time=tally.first_time,
            last_time=tally.last_time,
            tasks=list(plan.run.tasks),
            columns=columns,
            widths=widths,
            separators=separators,
            part_rows=plan.part_rows(),
            files=list(zip(reader.places.names, reader.places.first, strict=True)),
            data_hash=writer.data_hash(),
            prepared=writer.rows,
            outstanding=self._outstanding.most,
            taken=[str(file.resolve()) for file in plan.log.files],
        )
