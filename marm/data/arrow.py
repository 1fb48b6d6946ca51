"""Arrow IPC files of one record batch as numpy arrays over the mapped file: nothing is read until it is touched.

Polars reads IPC files into memory of its own; the stream's parts are read in slices, over and over, by several
processes. So the few lines here follow the format's tables to where each buffer lies:

    ARROW1.. schema | batch: marker, length, message table, buffers ... | footer table, its length, ARROW1
    (https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format)
"""

import mmap
import struct
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from marm.data.events import Tags
from marm.errors import DataError

_MAGIC = b"ARROW1"
_FLAT: dict[object, str] = {
    pl.Int64: "<i8", pl.UInt64: "<u8", pl.Float32: "<f4", pl.UInt8: "|u1",
}  # fmt: skip
Mapped = NDArray | Tags
Span = tuple[int, int]
"""Begin and bytes of a buffer."""


def write_batch(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as one uncompressed record batch; columns that ``map_batch`` shall find come first."""
    frame.rechunk().write_ipc(path, compression="uncompressed", record_batch_size=max(1, frame.height))


def map_batch(path: Path) -> dict[str, Mapped]:
    """The leading columns of plain numbers, fixed-width vectors and lists of ids; the first other one ends them."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    rows, buffers = _buffers(data, path)
    schema = pl.read_ipc_schema(path)
    columns: dict[str, Mapped] = {}
    at = 0
    for name, dtype in schema.items():
        column, used = _column(data, dtype, buffers[at:], rows)
        if column is None:
            break
        columns[name] = column
        at += used
    return columns


def _column(data: mmap.mmap, dtype: pl.DataType, buffers: list[Span], rows: int) -> tuple[Mapped | None, int]:
    """A column and how many buffers it takes; validity buffers are skipped, since nothing here is null."""
    if dtype in _FLAT:
        return np.frombuffer(data, _FLAT[dtype], rows, buffers[1][0]), 2
    if isinstance(dtype, pl.Array) and dtype.inner in _FLAT:
        width = dtype.size
        flat = np.frombuffer(data, _FLAT[dtype.inner], rows * width, buffers[2][0])
        return flat.reshape(rows, width), 3
    if isinstance(dtype, pl.List) and dtype.inner == pl.UInt64:
        offsets = np.frombuffer(data, "<i8", rows + 1, buffers[1][0])
        return Tags(np.frombuffer(data, "<u8", int(offsets[-1]), buffers[3][0]), offsets), 4
    return None, 0


def _buffers(data: mmap.mmap, path: Path) -> tuple[int, list[Span]]:
    """Rows of the first batch, and begin and bytes of each of its buffers, in the file."""
    if len(data) < 24 or data[-6:] != _MAGIC:
        raise DataError(f"{path}: not a whole Arrow file (cut short?): prepare the events anew")
    footer_bytes = struct.unpack_from("<i", data, len(data) - 10)[0]
    footer = _root(data, len(data) - 10 - footer_bytes)
    blocks, count = _vector(data, footer, 3)
    if count != 1:
        raise DataError(f"{path}: {count} record batches where one was written: prepare the events anew")
    block, meta_bytes = struct.unpack_from("<qi", data, blocks)
    batch = _table(data, _root(data, block + 8), 2)
    body = block + meta_bytes
    rows = struct.unpack_from("<q", data, _field(data, batch, 0))[0]
    first, count = _vector(data, batch, 2)
    spans = [struct.unpack_from("<qq", data, first + 16 * i) for i in range(count)]
    return rows, [(body + begin, size) for begin, size in spans]


def _root(data: mmap.mmap, at: int) -> int:
    return int(at + struct.unpack_from("<I", data, at)[0])


def _field(data: mmap.mmap, table: int, slot: int) -> int:
    """Where a table's field lies. https://flatbuffers.dev/internals/"""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    return int(table + struct.unpack_from("<H", data, vtable + 4 + 2 * slot)[0])


def _table(data: mmap.mmap, table: int, slot: int) -> int:
    return _root(data, _field(data, table, slot))


def _vector(data: mmap.mmap, table: int, slot: int) -> tuple[int, int]:
    at = _table(data, table, slot)
    return at + 4, int(struct.unpack_from("<I", data, at)[0])
