"""A user's events made nobody's, and what was told of them overwritten: places in the stream and in files stay as they are.

An erased event keeps its item, its time and the item's logged columns; user, outcomes, context and ids are gone, and it
enters no history.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl

from marm.data.ids import hash_text
from marm.data.inbox import end_of, inbox_file
from marm.data.parts import write_durable
from marm.data.record import erased_line, is_erased
from marm.data.rows import EVENT_ID, LABELS, USER_ID
from marm.data.side import ID, side_file
from marm.data.stream import EventLog
from marm.data.values import text_of
from marm.files import replacing
from marm.types import U64, Bool


class Known(NamedTuple):
    """What a run folder holds of users beside their memory."""

    ids: set[str]
    """Of their events."""
    users: set[int]
    """Those of whom it holds anything."""


def known_of(folder: Path, log: EventLog, users: U64) -> Known:
    """What the stream, its user file, a run folder's inbox and files of what was put aside tell of users."""
    ids, known = set[str](), _in_side(folder / "events", users)
    for (lo, hi), path in zip(log.parts(), log.files(), strict=True):
        user = log.read(lo, hi).user
        mine = np.isin(user, users)
        known |= set(user[mine].tolist())
        if mine.any() and EVENT_ID in (frame := pl.read_ipc(path)).columns:
            ids |= set(frame[EVENT_ID].filter(pl.Series(mine)).drop_nulls().to_list())
    for path, limit in [*_of_inbox(folder / "inbox"), *_asides(folder)]:
        _, told, user = _told(path, limit)
        mine = np.isin(user, users)
        known |= set(user[mine].tolist())
        ids |= {str(told[at]["event_id"]) for at in np.flatnonzero(mine).tolist() if "event_id" in told[at]}
    return Known(ids, known)


def _in_side(folder: Path, users: U64) -> set[int]:
    path = side_file(folder, "users")
    return set(np.intersect1d(pl.read_ipc(path)[ID].to_numpy(), users).tolist()) if path.exists() else set()


def erase_events(folder: Path, log: EventLog, users: U64) -> int:
    """Erase users from all parts of the stream, and from what else lies there; how many events."""
    count = 0
    for (lo, hi), path in zip(log.parts(), log.files(), strict=True):
        mine = np.isin(log.read(lo, hi).user, users)
        if mine.any():
            _replace(_anonymous(pl.read_ipc(path), mine), path)
            count += int(mine.sum())
    _drop_strays(folder, set(log.files()))
    return count


def _drop_strays(folder: Path, named: set[Path]) -> None:
    """Small parts that were merged stay for those who read them; here they would tell on."""
    for path in folder.glob("events-*.arrow"):
        if path not in named:
            path.unlink()


def erase_side(folder: Path, users: U64) -> None:
    """Drop users from the user file beside the stream."""
    path = side_file(folder, "users")
    if path.exists():
        frame = pl.read_ipc(path)
        mine = np.isin(frame[ID].to_numpy(), users)
        if mine.any():
            _replace(_written_anew(frame.filter(pl.Series(~mine))), path)


def _replace(frame: pl.DataFrame, path: Path) -> None:
    with replacing(path) as beside:
        write_durable(frame, beside)


def _anonymous(frame: pl.DataFrame, mine: Bool) -> pl.DataFrame:
    columns = [_blank(frame, name, mine) for name in frame.columns]
    return pl.DataFrame(columns)


def _blank(frame: pl.DataFrame, name: str, mine: Bool) -> pl.Series:
    column = frame[name]
    if name in (USER_ID, EVENT_ID):
        return _without(column, mine)
    if name in ("user", "history"):
        return pl.Series(name, np.where(mine, 0, column.to_numpy()), dtype=column.dtype)
    if name == "known":
        return pl.Series(name, np.where(mine, frame["time"].to_numpy(), column.to_numpy()))
    if name == LABELS or name.partition(".")[0] in ("user", "context"):
        return _missing(column, mine)
    return _written_anew(frame.select(name))[name]


def _missing(column: pl.Series, mine: Bool) -> pl.Series:
    """The column with these rows as its kind says that nothing is known."""
    if isinstance(column.dtype, pl.List):
        lists = [[] if gone else value for gone, value in zip(mine.tolist(), column.to_list(), strict=True)]
        return pl.Series(column.name, lists, dtype=column.dtype)
    values = column.to_numpy().copy()
    values[mine] = np.nan if column.name == LABELS or (values.ndim == 1 and values.dtype.kind == "f") else 0
    return pl.Series(column.name, values, dtype=column.dtype)


def _without(column: pl.Series, mine: Bool) -> pl.Series:
    """The column with these rows null, and nothing of them left in its buffers, which a filter would share."""
    values = [None if gone else value for gone, value in zip(mine.tolist(), column.to_list(), strict=True)]
    return pl.Series(column.name, values, dtype=column.dtype)


def _written_anew(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with texts in buffers of their own, which hold nothing else."""
    texts = [
        pl.Series(name, frame[name].to_list(), dtype=pl.String)
        for name, kind in frame.schema.items()
        if kind == pl.String
    ]
    return frame.with_columns(texts)


def erase_told(folder: Path, users: U64, ids: set[str]) -> int:
    """Write over lines of users' events, and of outcomes that followed them, in a run folder's inbox and what was put aside."""
    return sum(
        _erase_lines(path, limit, users, ids) for path, limit in [*_of_inbox(folder / "inbox"), *_asides(folder)]
    )


def _of_inbox(folder: Path) -> Iterator[tuple[Path, int]]:
    """Its files, and how much of each is whole."""
    if not folder.is_dir():
        return
    end = end_of(folder)
    for path in sorted(folder.glob("[0-9]*.ndjson")):
        limit = end.offset if int(path.stem) == end.file else path.stat().st_size
        yield inbox_file(folder, int(path.stem)), limit


def _asides(folder: Path) -> Iterator[tuple[Path, int]]:
    paths = (folder / f"{name}.ndjson" for name in ("late", "rejected"))
    return ((path, path.stat().st_size) for path in paths if path.exists())


def _told(path: Path, limit: int) -> tuple[list[bytes], list[dict[str, Any]], U64]:
    """A file's lines, what each tells, and of which user; 0 where of none."""
    with path.open("rb") as file:
        lines = file.read(limit).splitlines(keepends=True)
    told = [_record(line) for line in lines]
    return lines, told, hash_text(pl.Series("user", [_text(one.get("user")) for one in told], dtype=pl.String))


def _erase_lines(path: Path, limit: int, users: U64, ids: set[str]) -> int:
    """Each line is written over by one call: who reads meanwhile sees it whole, before or after."""
    lines, told, user = _told(path, limit)
    mine = np.isin(user, users) | np.array([str(one.get("event_id")) in ids for one in told], np.bool_)
    begins = np.cumsum([0, *map(len, lines)])
    handle = os.open(path, os.O_RDWR)
    try:
        for at in np.flatnonzero(mine).tolist():
            os.pwrite(handle, erased_line(len(lines[at]) - 1), int(begins[at]))
        os.fsync(handle)
    finally:
        os.close(handle)
    return int(mine.sum())


def _record(line: bytes) -> dict[str, Any]:
    """What a line tells; of a line that was put aside, what the record in it tells."""
    if is_erased(line):
        return {}
    try:
        told = orjson.loads(line)
        inner = orjson.loads(told["record"]) if isinstance(told, dict) and "record" in told else told
    except orjson.JSONDecodeError:
        return {}
    return inner if isinstance(inner, dict) else {}


def _text(user: Any) -> str | None:
    """A told id as ids compare; what stands in a line that could not be read may be none."""
    return text_of(user) if isinstance(user, (str, int, float)) else None
