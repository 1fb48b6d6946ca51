"""Lines of the inbox as records: what a line must hold, and what is wrong with one that does not."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from marm.errors import DataError

_AT_ONCE = 512
_ERASED_LINE = b'{"kind":"erased"'
_IDS = {str, int}
_TIMES = {str, int, float}
_TABLES = {dict, type(None)}
_SECONDS = {int, float, type(None)}


@dataclass(frozen=True)
class EventRecord:
    """An exposure as it was served."""

    event_id: str
    user: Any
    item: Any
    at: Any
    context: dict[str, Any]
    outcomes: dict[str, Any]
    received: float | None
    """Seconds of the wall clock at which the server took it, if the server said so."""


@dataclass(frozen=True)
class OutcomesRecord:
    """Outcomes that follow an event."""

    event_id: str
    outcomes: dict[str, Any]


@dataclass
class Records:
    """Lines in columns: events with the numbers of their lines, outcomes with theirs, and what cannot be read."""

    event_line: list[int] = field(default_factory=list)
    event_id: list[str] = field(default_factory=list)
    user: list[Any] = field(default_factory=list)
    item: list[Any] = field(default_factory=list)
    at: list[Any] = field(default_factory=list)
    context: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    received: list[float | None] = field(default_factory=list)
    follow_line: list[int] = field(default_factory=list)
    follow_id: list[str] = field(default_factory=list)
    follow_outcomes: list[dict[str, Any]] = field(default_factory=list)
    follow_received: list[float | None] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Line and reason."""


def erased_line(size: int) -> bytes:
    """What a user's erasure writes over a line of as many bytes: a line that says nothing."""
    return _ERASED_LINE + b" " * (size - len(_ERASED_LINE) - 1) + b"}"


def is_erased(line: bytes) -> bool:
    """Whether a line is such a one."""
    return line.startswith(_ERASED_LINE)


def parse_all(lines: Sequence[bytes]) -> Records:
    """Lines as records, as ``parse`` reads each of them."""
    out = Records()
    for begin in range(0, len(lines), _AT_ONCE):
        some = lines[begin : begin + _AT_ONCE]
        if not _plain(some, begin, out):
            _each(some, begin, out)
    return out


def _plain(lines: Sequence[bytes], begin: int, out: Records) -> bool:
    """Lines in which nothing is wrong or odd, all at once; else False, and nothing is taken."""
    try:
        told = list(map(orjson.loads, lines))
        kinds = [one["kind"] for one in told]
        ids = [one["event_id"] for one in told]
        if not (set(kinds) <= {"event", "outcomes"} and set(map(type, ids)) <= _IDS):
            return False
        events = [(begin + at, one) for at, (one, kind) in enumerate(zip(told, kinds, strict=True)) if kind == "event"]
        shown = [one for _, one in events]
        user, item, at = ([one[name] for one in shown] for name in ("user", "item", "at"))
    except (ValueError, TypeError, KeyError):
        return False
    context, outcomes = ([one.get(name) for one in told] for name in ("context", "outcomes"))
    received = [one.get("received") for one in shown]
    given = ((user, _IDS), (item, _IDS), (at, _TIMES), (context, _TABLES), (outcomes, _TABLES), (received, _SECONDS))
    if not all(set(map(type, column)) <= known for column, known in given):
        return False
    out.event_line += [number for number, _ in events]
    out.event_id += [str(one["event_id"]) for one in shown]
    out.user += user
    out.item += item
    out.at += at
    out.context += [one.get("context") or {} for one in shown]
    out.outcomes += [one.get("outcomes") or {} for one in shown]
    out.received += received
    follows = [number for number, kind in enumerate(kinds) if kind == "outcomes"]
    out.follow_line += [begin + number for number in follows]
    out.follow_id += [str(ids[number]) for number in follows]
    out.follow_outcomes += [outcomes[number] or {} for number in follows]
    out.follow_received += [None] * len(follows)
    return True


def _each(lines: Iterable[bytes], begin: int, out: Records) -> None:
    for number, line in enumerate(lines, begin):
        if is_erased(line):
            continue
        try:
            one = parse(line)
        except DataError as error:
            out.bad.append((number, str(error)))
            continue
        if isinstance(one, OutcomesRecord):
            out.follow_line.append(number)
            out.follow_id.append(one.event_id)
            out.follow_outcomes.append(one.outcomes)
            out.follow_received.append(None)
        else:
            out.event_line.append(number)
            for name in ("event_id", "user", "item", "at", "context", "outcomes", "received"):
                getattr(out, name).append(getattr(one, name))


def parse(line: bytes) -> EventRecord | OutcomesRecord:
    """A line as a record. Errors: ``DataError`` with the reason."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError("not JSON: write one object a line") from None
    if not isinstance(raw, dict):
        raise DataError(f"a {type(raw).__name__}: write one object a line")
    match raw.get("kind"):
        case "event":
            user, item, at = (_scalar(raw, name) for name in ("user", "item", "at"))
            received = raw.get("received")
            seconds = float(received) if isinstance(received, (int, float)) else None
            return EventRecord(_id(raw), user, item, at, _table(raw, "context"), _table(raw, "outcomes"), seconds)
        case "outcomes":
            return OutcomesRecord(_id(raw), _table(raw, "outcomes"))
    raise DataError(f'kind = {json.dumps(raw.get("kind"))}: give "event" or "outcomes"')


def _id(raw: dict[str, Any]) -> str:
    return str(_scalar(raw, "event_id"))


def _scalar(raw: dict[str, Any], name: str) -> str | int | float:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(f"{name} = {json.dumps(value)[:60]}: give text or a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{name} = {value}: give text or a finite number")
    return value


def _table(raw: dict[str, Any], name: str) -> dict[str, Any]:
    value = raw.get(name) or {}
    if not isinstance(value, dict):
        raise DataError(f"{name} = {json.dumps(value)[:60]}: give an object of columns and values")
    return value
