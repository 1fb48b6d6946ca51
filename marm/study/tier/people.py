"""Who comes when: sessions of users of unequal zeal, as requests in order of time; and the habits of a log."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from marm.data.stream import EventLog
from marm.study.tier.settings import People
from marm.types import F64, I64

DAY, MICRO = 86_400.0, 1_000_000
_IDLE = 1800.0
"""Seconds that end a session."""


class Requests(NamedTuple):
    """(R,) each, in order of time."""

    time: F64
    """Seconds."""
    user: I64
    events: I64
    """That it shows, and that are learned from."""


def requests_of(people: People, users: int, days: float, seed: int = 0) -> Requests:
    """Of ``users`` drawn from all, over so many days that begin at midnight."""
    draw = np.random.default_rng(seed)
    zeal = np.exp(draw.normal(0, people.skew, users))
    sessions = people.events / people.users / people.session * zeal / zeal.mean()
    counts = draw.poisson(sessions * days)
    whose = np.repeat(np.arange(users), counts)
    begin = _moments(draw, people, len(whose), days)
    length = _lengths(draw, people, len(whose))
    first = np.cumsum(length) - length
    pauses = _pauses(draw, people, int(length.sum()))
    since = np.cumsum(pauses)
    at = np.repeat(begin - since[first], length) + since if len(first) else since
    order = np.argsort(at, kind="stable")
    order = order[at[order] < days * DAY]
    shown = 1 + draw.poisson(people.request - 1, len(at))
    return Requests(at[order], np.repeat(whose, length)[order], shown[order])


def _moments(draw: np.random.Generator, people: People, count: int, days: float) -> F64:
    """Seconds at which sessions begin, by the hours' weights."""
    hours = np.arange(int(np.ceil(days * 24)))
    weight = np.array(people.hours)[hours % 24]
    until = np.minimum(days * 24 - hours, 1.0)
    weight = weight * until
    hour = draw.choice(hours, count, p=weight / weight.sum())
    moments: F64 = (hour + draw.random(count) * until[hour]) * 3600.0
    return moments


def _lengths(draw: np.random.Generator, people: People, count: int) -> I64:
    """Requests of each session, one or more, with a heavy tail."""
    mean = max(people.session / people.request, 1.0)
    length = np.exp(draw.normal(-(people.session_spread**2) / 2, people.session_spread, count)) * (mean - 0.5) + 0.5
    return np.maximum(1, np.round(length)).astype(np.int64)


def _pauses(draw: np.random.Generator, people: People, count: int) -> F64:
    """Seconds before each request, alike on a scale of logarithms within each stretch."""
    low, high, weight = np.array(people.pauses).T
    at = draw.choice(len(low), count, p=weight / weight.sum())
    pauses: F64 = low[at] * (high[at] / low[at]) ** draw.random(count)
    return pauses


def habits_of(run: Path) -> dict[str, object]:
    """How the users of a run's log come, as settings of ``People``: all but how many they are."""
    log = EventLog(run / "events")
    parts = [log.read(low, high) for low, high in log.parts()]
    user, time = (np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "time"))
    order = np.lexsort((time, user))
    user, time = user[order], time[order] / MICRO
    new = np.ones(len(user), bool)
    new[1:] = user[1:] != user[:-1]
    gap = np.diff(time, prepend=time[0])
    requests, sessions = new | (gap >= 1.0), new | (gap >= _IDLE)
    inside = gap[requests & ~sessions]
    edges = np.array([1.0, 10.0, 60.0, 300.0, _IDLE])
    often = np.histogram(inside, edges)[0]
    counts = np.diff(np.append(np.flatnonzero(new), len(user)))
    return {
        "skew": float(np.log(counts).std()),
        "session": len(user) / int(sessions.sum()),
        "request": len(user) / int(requests.sum()),
        "hours": np.bincount((time // 3600 % 24).astype(np.int64), minlength=24).tolist(),
        **(
            {"pauses": list(zip(edges[:-1].tolist(), edges[1:].tolist(), often.tolist(), strict=True))}
            if often.any()
            else {}
        ),
    }
