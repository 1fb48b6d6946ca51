"""The order of the stream: by time, then by user as each first appears at that time, then by row of the log."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl

from marm.types import I64, U64

_SAMPLE = 2**20


class UnsortedError(Exception):
    """The log's time falls at ``row``: what was read so far is not in order, so sort on disk instead."""

    def __init__(self, row: int, before: int, after: int) -> None:
        super().__init__(row, before, after)
        self.row, self.before, self.after = row, before, after


def blocks_in_order(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Frames of a log that is sorted by time, in the stream's order; no time is in two blocks.

    Errors: ``UnsortedError`` where the time falls; blocks yielded before are then worth nothing.
    """
    held: list[pl.DataFrame] = []
    last = 0
    for frame in frames:
        if not frame.height:
            continue
        time = frame["time"].to_numpy()
        falls = np.flatnonzero(np.diff(time, prepend=last if held else time[0]) < 0)
        if len(falls):
            at = int(falls[0])
            raise UnsortedError(int(frame["row"][at]), int(time[at - 1]) if at else last, int(time[at]))
        # The last time may go on in the next frame, so its rows wait.
        cut = int(np.searchsorted(time, time[-1]))
        if held and (cut or time[0] > last):
            yield ordered(pl.concat([*held, frame[:cut]]))
            held = []
        elif cut:
            yield ordered(frame[:cut])
        held.append(frame[cut:])
        last = int(time[-1])
    if held:
        yield ordered(pl.concat(held))


def ordered(block: pl.DataFrame) -> pl.DataFrame:
    """A block that is sorted by time, in the stream's order."""
    order = tie_order(block["time"].to_numpy(), block["user"].to_numpy(), block["row"].to_numpy())
    return block if order is None else block[order]


def tie_order(time: I64, user: U64, row: I64) -> I64 | None:
    """The permutation that brings users of one time together, given times in order (n,); None: nothing moves."""
    same = time[1:] == time[:-1]
    if not same.any():
        return None
    tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
    time, user, row = time[tied], user[tied], row[tied]
    by_user = np.lexsort((row, user, time))
    new = np.diff(time[by_user], prepend=-1) != 0
    new[1:] |= user[by_user][1:] != user[by_user][:-1]
    new[0] = True
    first = np.empty(len(tied), np.int64)
    first[by_user] = row[by_user][np.flatnonzero(new)[np.cumsum(new) - 1]]
    order = np.arange(len(same) + 1)
    order[tied] = tied[np.lexsort((row, first, time))]
    return order


def bucket_edges(times: Iterable[I64], bucket_rows: int) -> I64:
    """Times that split a log into buckets of about ``bucket_rows``; bucket b holds edges[b - 1] <= time < edges[b]."""
    sample: list[I64] = []
    stride, rows, held = 1, 0, 0
    for time in times:
        picked = time[-rows % stride :: stride]
        rows += len(time)
        sample.append(picked)
        held += len(picked)
        if held > 2 * _SAMPLE:
            sample = [np.concatenate(sample)[::2]]
            stride, held = 2 * stride, len(sample[0])
    values = np.sort(np.concatenate(sample)) if sample else np.empty(0, np.int64)
    buckets = -(-rows // bucket_rows)
    return np.unique(values[np.arange(1, buckets) * len(values) // max(buckets, 1)])


def blocks_by_bucket(frames: Iterable[pl.DataFrame], edges: I64, folder: Path) -> Iterator[pl.DataFrame]:
    """Frames in any order, in the stream's order: split into buckets under ``folder``, each sorted in memory."""
    return map(ordered, sorted_on_disk(frames, edges, folder, "time"))


def sorted_on_disk(frames: Iterable[pl.DataFrame], edges: I64, folder: Path, key: str) -> Iterator[pl.DataFrame]:
    """Frames in any order, by rising ``key`` (int64) and then as they came; ``folder`` comes and goes."""
    folder.mkdir(parents=True)
    spans = _spill(frames, edges, folder, key)
    for bucket in range(len(edges) + 1):
        if spans[bucket]:
            block = _gather(_bucket_file(folder, bucket), spans[bucket])
            yield block[np.argsort(block[key].to_numpy(), kind="stable")]
    folder.rmdir()


def _bucket_file(folder: Path, bucket: int) -> Path:
    return folder / f"bucket-{bucket:05d}"


def _spill(frames: Iterable[pl.DataFrame], edges: I64, folder: Path, key: str) -> list[list[int]]:
    """Append each frame's rows to their buckets; the ends of what was appended, for each bucket."""
    spans: list[list[int]] = [[] for _ in range(len(edges) + 1)]
    for frame in frames:
        bucket = np.searchsorted(edges, frame[key].to_numpy(), side="right")
        order = np.argsort(bucket, kind="stable")
        ends = np.searchsorted(bucket[order], np.arange(len(edges) + 2))
        for number in np.unique(bucket):
            with _bucket_file(folder, number).open("ab") as file:
                frame[order[ends[number] : ends[number + 1]]].write_ipc_stream(file)
                spans[number].append(file.tell())
    return spans


def _gather(path: Path, ends: list[int]) -> pl.DataFrame:
    """A bucket's rows in the log's order; its file goes."""
    data = path.read_bytes()
    path.unlink()
    frames = [pl.read_ipc_stream(BytesIO(data[begin:end])) for begin, end in zip([0, *ends], ends, strict=False)]
    return pl.concat(frames)
