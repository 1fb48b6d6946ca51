"""A log in any order as one Parquet file in order of time, larger than memory."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from marm.data.order import bucket_edges, sorted_on_disk
from marm.data.source import HISTORY, LogReader, open_log, parted
from marm.data.times import Clock, clock_of, to_micros
from marm.data.trouble import TroubleError, no_column
from marm.errors import DataError, DiskError, FolderError

_KEY = "__micros"
_WHOLE = "whole.parquet"
_BUCKET_ROWS = 2**19


def sort_log(log: Path, out: Path, time: str, form: str | None = None) -> int:
    """Write a log's rows to ``out`` by rising time, rows of one time as they were; returns how many.

    ``form``: as ``data.time_format``.

    Errors: ``DataError`` for a time that cannot be read, ``FolderError`` if ``out`` is there already.
    """
    if out.exists():
        raise FolderError(f"{out} exists: remove it, or choose another file")
    found = open_log(*parted(log))
    if time not in found.schema:
        raise no_column("--time", time, found.schema, found.name)
    other = [
        file.name for file, schema in zip(found.files, found.schemas, strict=True) if len(schema) > len(found.schema)
    ]
    if other:
        raise DataError(f"{other[0]} has columns that not all files of {log} have: give them the same columns")
    reader = LogReader(found, list(found.schema), None, None)
    clock = clock_of(found.first(time, None), "auto", form)
    beside = out.with_name(out.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        _write_sorted(reader, clock, beside)
        (beside / _WHOLE).rename(out)
    except OSError as error:
        raise DiskError(out, error) from None
    except PolarsError as error:
        raise DataError(f"{log}: cannot be sorted ({error}): write it anew as Parquet") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return reader.rows


def _write_sorted(reader: LogReader, clock: Clock, folder: Path) -> None:
    times = LogReader(reader.log, [clock.column], None, None)
    edges = bucket_edges((to_micros(chunk, clock)[0] for chunk in times.chunks()), _BUCKET_ROWS)
    runs: list[Path] = []
    for block in sorted_on_disk(_keyed(reader, clock), edges, folder / "buckets", _KEY):
        run = folder / f"sorted-{len(runs):05d}.arrow"
        block.drop(_KEY).write_ipc(run)
        runs.append(run)

    pl.scan_ipc(runs).sink_parquet(folder / _WHOLE, maintain_order=True)


def _keyed(reader: LogReader, clock: Clock) -> Iterator[pl.DataFrame]:
    time = clock.column
    for chunk in reader.chunks():
        micros, _, troubles = to_micros(chunk, clock)
        for trouble in troubles:
            if trouble.kind != "negative time":
                raise TroubleError(
                    trouble.kind, time, trouble.found, "mend such rows, or leave them out, and sort again"
                )
        yield chunk.frame.drop(HISTORY).with_columns(pl.Series(_KEY, micros))
