"""Messages of a topic as records: one JSON object each, or an Arrow IPC stream of many rows, told apart by their first bytes.

{"user": 7, "item": 41, "time": 1700000000, "page": "home", "event_id": "e7"}       an event, in the log's own columns
{"kind": "outcomes", "event_id": "e7", "click": 1}                                 outcomes that follow
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import orjson
import polars as pl
from polars.exceptions import PolarsError

from marm.config import RunConfig
from marm.data.framing import MOST_BYTES, MOST_ROWS, check_stream
from marm.data.record import Records
from marm.data.trouble import show
from marm.errors import first_line

_ARROW = b"\xff\xff\xff\xff"
"""How each message of an IPC stream begins. https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format"""
_IDS, _TIMES = {str, int}, {str, int, float}
_LONGEST = 2000
Row = dict[str, Any]
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Messages:
    """Messages in the order in which they are taken."""

    lane: Sequence[str]
    offset: Sequence[int]
    sent: Sequence[float]
    """Seconds, as the broker stamped them."""
    value: Sequence[bytes | None]


@dataclass(frozen=True)
class Columns:
    """Where a message holds what."""

    user: str
    item: str
    time: str
    event_id: str
    kind: str
    values: Sequence[str]
    """What an event may give beside user, item and time."""
    outcomes: frozenset[str]
    """What outcomes may give."""
    follows: str
    """Lanes that begin like this hold outcomes; empty for none."""

    @classmethod
    def of(cls, run: RunConfig, values: Sequence[str], outcomes: set[str]) -> "Columns":
        """As a run names them."""
        data, kafka = run.data, run.kafka
        follows = f"{kafka.outcomes}/" if kafka.outcomes else ""
        names = (data.user, data.item, data.time, kafka.event_id, kafka.kind)
        return cls(*names, values, frozenset(outcomes), follows)

    def follow(self, lane: str, row: Row) -> bool:
        """Whether a row of a lane is outcomes."""
        kind = row.get(self.kind)
        return kind == "outcomes" or (kind is None and bool(self.follows) and lane.startswith(self.follows))


@dataclass(frozen=True)
class Rows:
    """Rows of messages: from which message each is, and what cannot be read."""

    row: list[Row]
    message: list[int]
    bad: list[tuple[int, str]]
    """Number of a message, and why."""

    @cached_property
    def within(self) -> list[int]:
        """Which row of its message each row is."""
        message = np.array(self.message)
        first: list[int] = (np.arange(len(message)) - np.searchsorted(message, message)).tolist()
        return first


def rows_of(values: Sequence[bytes | None]) -> Rows:
    """All rows of messages."""
    try:
        rows = list(map(orjson.loads, values))  # type: ignore[arg-type]
        if set(map(type, rows)) <= {dict}:
            return Rows(rows, list(range(len(rows))), [])
    except orjson.JSONDecodeError:
        pass
    out = Rows([], [], [])
    for number, value in enumerate(values):
        found = _one(value)
        if isinstance(found, str):
            out.bad.append((number, found))
        else:
            out.row.extend(found)
            out.message.extend([number] * len(found))
    return out


def _one(value: bytes | None) -> list[Row] | str:
    if value is None:
        return "no value: send a JSON object, or an Arrow IPC stream"
    if value[:4] == _ARROW:
        return _tried(lambda: _frame(value).to_dicts())
    try:
        row = orjson.loads(value)
    except orjson.JSONDecodeError:
        return "neither JSON nor an Arrow IPC stream"
    return [row] if isinstance(row, dict) else f"a {type(row).__name__}: send one object a message"


def is_arrow(value: bytes | None) -> bool:
    """Whether a message is an Arrow IPC stream."""
    return value is not None and value[:4] == _ARROW


def arrow_frame(value: bytes) -> pl.DataFrame | str:
    """An IPC stream as a frame, times as ISO text; or why not."""
    return _tried(partial(_frame, value))


def _frame(value: bytes) -> pl.DataFrame:
    check_stream(value)
    frame = pl.read_ipc_stream(BytesIO(value))
    # Rows may share text, and columns of nothing need no bytes: how much it is as objects is only known now.
    if frame.height > MOST_ROWS or frame.estimated_size() > MOST_BYTES:
        raise ValueError("too much for one message: send several")
    for at, dtype in enumerate(frame.dtypes):
        if dtype.is_temporal():
            # Not by an expression: for few rows, to wake the threads that compute it takes longer than all else.
            frame.replace_column(at, frame.to_series(at).cast(pl.String))
    return frame


def _tried(read: Callable[[], _Read]) -> _Read | str:
    try:
        return read()
    except (PolarsError, OSError, ValueError, ArithmeticError, MemoryError) as error:
        return f"an Arrow IPC stream that cannot be read ({first_line(error, 'damaged')})"
    except BaseException as error:
        # A damaged buffer makes the reader panic, which is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        return "an Arrow IPC stream that cannot be read (damaged)"


def records_of(rows: Rows, messages: Messages, columns: Columns) -> Records:
    """Rows as records, numbered as they stand in ``rows``; messages that cannot be read come after them."""
    out, lane = Records(), [messages.lane[number] for number in rows.message]
    follows = [columns.follow(*one) for one in zip(lane, rows.row, strict=True)]
    ids = _event_ids(rows, messages, columns)
    events = [at for at, follow in enumerate(follows) if not follow]
    user, item, at = ([rows.row[n].get(name) for n in events] for name in (columns.user, columns.item, columns.time))
    for name, column, known in ((columns.user, user, _IDS), (columns.item, item, _IDS), (columns.time, at, _TIMES)):
        out.bad += _odd(name, column, known, events)
    out.event_line, out.event_id, out.user, out.item, out.at = events, [ids[n] for n in events], user, item, at
    out.context = [{name: row[name] for name in columns.values if row.get(name) is not None}
                   for row in (rows.row[n] for n in events)]  # fmt: skip
    out.outcomes = [{} for _ in events]
    out.received = [messages.sent[rows.message[n]] for n in events]
    for number in (n for n, follow in enumerate(follows) if follow):
        row = rows.row[number]
        if row.get(columns.event_id) is None:
            out.bad.append((number, f"outcomes without {columns.event_id}: name the event that they are of"))
            continue
        out.follow_line.append(number)
        out.follow_id.append(ids[number])
        out.follow_outcomes.append({name: row[name] for name in columns.outcomes if row.get(name) is not None})
        out.follow_received.append(messages.sent[rows.message[number]])
    out.bad += [(len(rows.row) + at, reason) for at, (_, reason) in enumerate(rows.bad)]
    return out


def _event_ids(rows: Rows, messages: Messages, columns: Columns) -> list[str]:
    """Ids as told; of an event without one its place in the topic, and in its message if that holds several."""
    told = [row.get(columns.event_id) for row in rows.row]
    if None not in told:
        return list(map(str, told))
    out = []
    for one, number, within in zip(told, rows.message, rows.within, strict=True):
        place = f"{messages.lane[number]}:{messages.offset[number]}" + (f":{within}" if within else "")
        out.append(place if one is None else str(one))
    return out


def _odd(name: str, column: list[Any], known: set[type], lines: list[int]) -> list[tuple[int, str]]:
    """Ids and times that are neither text nor a finite number."""
    if set(map(type, column)) <= known and float not in map(type, column):
        return []
    return [(line, f"{name} = {show(value)}: give text or a number")
            for line, value in zip(lines, column, strict=True) if not _scalar(value)]  # fmt: skip


def _scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def text_of_message(value: bytes | None, lane: str, columns: Columns, number: int = 0) -> str:
    """A row of a message in the form of a line of the inbox, for people and for whoever erases a user; else what came, cut."""
    rows = rows_of([value]).row
    if number >= len(rows):
        return (value or b"")[:_LONGEST].decode(errors="replace")
    row = rows[number]
    told: Row = {"kind": "event", "event_id": row.get(columns.event_id)}
    if columns.follow(lane, row):
        told |= {"kind": "outcomes", "outcomes": row}
    else:
        user, item, at = (row.get(name) for name in (columns.user, columns.item, columns.time))
        told |= {"user": user, "item": item, "at": at, "context": row}
    return orjson.dumps(told, default=str).decode()
