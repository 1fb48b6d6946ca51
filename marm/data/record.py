"""Lines of the inbox as records: what a line must hold, and what is wrong with one that does not."""

import json
import math
from dataclasses import dataclass
from typing import Any

from marm.errors import DataError


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
