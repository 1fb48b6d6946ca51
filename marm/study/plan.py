"""`marm plan`: which sizes buy the most GAUC within a budget of bytes and milliseconds, by a scaling study and its law."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.errors import FolderError, SettingError
from marm.memory.memory import RingShape
from marm.nn.codec import CODECS
from marm.study.law import Fit, fit
from marm.study.models import laid_over
from marm.study.scaling import LEAST
from marm.train.setup import ring_shape
from marm.types import F64

BEYOND = 4.0
"""How many times the study's largest C may be planned: a law says little far from where it was fitted."""

_STEP = 2**0.25
_WANTED = ("layers", "window", "width", "gauc", "milliseconds_500", "flops_per_event", "machine")


@dataclass(frozen=True)
class Budget:
    """What there is."""

    bytes: float
    users: float
    milliseconds: float
    """For one request of 500 candidates, as the study measured it."""
    requests: float
    """Of a user in a day."""
    events: float
    """Of a user in a day: each appends a row."""


@dataclass(frozen=True)
class Studied:
    """A scaling study, read."""

    places: list[dict[str, Any]]
    fit: Fit
    latency: "Latency"

    @property
    def largest(self) -> float:
        """The largest C = L n d."""
        return max(float(place["layers"] * place["window"] * place["width"]) for place in self.places)


@dataclass(frozen=True)
class Latency:
    """ms = e^a L^b n^c d^e, fitted to a study's places."""

    powers: F64
    error: float
    """Standard deviation of log ms around it, by places left out one at a time."""

    def at(self, layers: int, window: int, width: int) -> float:
        """Milliseconds expected."""
        return float(np.exp(self.powers @ [1.0, math.log(layers), math.log(window), math.log(width)]))

    def most(self, layers: int, window: int, width: int) -> float:
        """One standard deviation above: what a budget is held against."""
        return self.at(layers, window, width) * math.exp(self.error)


@dataclass(frozen=True)
class Choice:
    """One size, what it is expected to bring, and what it costs at scale."""

    layers: int
    window: int
    width: int
    codec: str
    gauc: float
    low: float
    high: float
    row_bytes: int
    """Of one event: states and facts."""
    rows: int
    """Of a full ring."""
    milliseconds: float
    most_milliseconds: float
    extrapolated: bool
    """Whether C is above the study's."""

    @property
    def numbers(self) -> int:
        """C = L n d."""
        return self.layers * self.window * self.width

    @property
    def user_bytes(self) -> int:
        """Of a full ring."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Plan:
    """The best choices, best first, and what they were chosen from."""

    budget: Budget
    studied: Studied
    choices: list[Choice]
    tried: int
    fitting: int
    rows_now: float
    """Rows of a user's ring by the run's own log, of the first choice."""


def read_study(folder: Path) -> Studied:
    """Errors: ``FolderError`` where a folder holds no scaling study that a law can be fitted to."""
    path = folder / "places.jsonl"
    try:
        places = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError:
        raise FolderError(f"{path}: not there: name the folder of a finished `marm study scaling`") from None
    except ValueError:
        raise FolderError(f"{path}: not JSON lines: make the study again") from None
    for number, place in enumerate(places, 1):
        if missing := [name for name in _WANTED if not isinstance(place, dict) or name not in place]:
            raise FolderError(f"{path}: line {number} has no {missing[0]}: make the study again")
    sizes: F64 = np.array([[place[name] for name in ("layers", "window", "width")] for place in places], np.float64)
    if len(sizes) < LEAST or len(np.unique(sizes.prod(1))) < LEAST:
        raise FolderError(f"{path}: {len(sizes)} places: a law needs {LEAST} of different size; study more of them")
    law = fit(sizes.prod(1), np.array([place["gauc"] for place in places], np.float64))
    return Studied(places, law, _latency(sizes, np.array([place["milliseconds_500"] for place in places], np.float64)))


def _latency(sizes: F64, took: F64) -> Latency:
    x, y = np.column_stack([np.ones(len(sizes)), np.log(sizes)]), np.log(took)
    wrong = []
    for out in range(len(y)):
        kept = np.arange(len(y)) != out
        powers = np.linalg.lstsq(x[kept], y[kept], rcond=None)[0]
        wrong.append(float(y[out] - x[out] @ powers))
    return Latency(np.asarray(np.linalg.lstsq(x, y, rcond=None)[0]), float(np.sqrt(np.mean(np.square(wrong)))))


def plan(run: RunConfig, log: EventLog, studied: Studied, budget: Budget, codecs: Sequence[str] = ()) -> Plan:
    """The best sizes within a budget, at most ``BEYOND`` times the study's largest. ``codecs``: the run's, if none is given.

    Errors: ``SettingError`` where nothing fits.
    """
    for codec in codecs:
        if codec not in CODECS:
            raise SettingError(f"--codecs {codec}: no such codec; there are {', '.join(CODECS)}")
    every = _choices(run, log, studied, codecs or [run.memory.codec])
    fitting = [one for one in every if _fits(one, budget)]
    if not fitting:
        raise SettingError(_nothing_fits(every, budget))
    # Of equal promise, the cheapest.
    fitting.sort(key=lambda one: (-round(one.gauc, 6), one.user_bytes, one.most_milliseconds))
    return Plan(budget, studied, fitting, len(every), len(fitting), _rows_now(log, fitting[0].rows))


def _fits(one: Choice, budget: Budget) -> bool:
    return one.user_bytes * budget.users <= budget.bytes and one.most_milliseconds <= budget.milliseconds


def _nothing_fits(every: list[Choice], budget: Budget) -> str:
    least, fastest = min(one.user_bytes for one in every), min(one.most_milliseconds for one in every)
    return (
        f"nothing of the study's sizes fits: {budget.bytes / budget.users:,.0f} bytes a user and {budget.milliseconds:g} ms "
        f"are there, the smallest takes {least:,} bytes and the fastest {fastest:.3g} ms: raise --bytes or --latency, or "
        "study smaller sizes"
    )


def _sizes(run: RunConfig, studied: Studied) -> list[tuple[int, int, int]]:
    layers, windows, widths = (
        sorted({place[name] for place in studied.places}) for name in ("layers", "window", "width")
    )
    heads, most = run.model.heads, BEYOND * studied.largest
    rows = _between(windows, 1)
    found = product(layers, rows, _between(widths, heads))
    return [(depth, n, d) for depth, n, d in found if depth * n * d <= most and n >= run.train.segment]


def _between(studied: list[int], step: int) -> list[int]:
    """The studied ones, others in between and up to ``BEYOND`` times the largest, all multiples of ``step``."""
    steps = math.ceil(math.log(BEYOND * studied[-1] / studied[0], _STEP))
    others = (studied[0] * _STEP**i for i in range(steps + 1))
    return sorted({*studied, *(max(step, round(value / step) * step) for value in others)})


def _choices(run: RunConfig, log: EventLog, studied: Studied, codecs: Sequence[str]) -> list[Choice]:
    sizes = _sizes(run, studied)
    c = np.array([math.prod(size) for size in sizes], np.float64)
    told = np.column_stack([studied.fit.law.at(c), *studied.fit.band(c)])
    out = []
    for size, (gauc, low, high), numbers in zip(sizes, told.tolist(), c.tolist(), strict=True):
        took = studied.latency.at(*size), studied.latency.most(*size)
        for codec in codecs:
            shape = shape_of(run, log, *size, codec)
            row = shape.state_bytes + shape.facts.itemsize
            beyond = numbers > studied.largest
            out.append(Choice(*size, codec, gauc, low, high, row, shape.capacity, *took, beyond))
    return out


def shape_of(run: RunConfig, log: EventLog, layers: int, window: int, width: int, codec: str) -> RingShape:
    """The rings that a run of these sizes has, without facts beyond them and without what waits for outcomes."""
    live = min(run.train.live, window)
    sized = laid_over(
        run,
        {
            "model": {"layers": layers, "width": width},
            "memory": {"window": window, "codec": codec, "facts": 1},
            "train": {"live": live, "segment": min(run.train.segment, live)},
        },
    )
    return ring_shape(sized, log, outstanding=0)


def _rows_now(log: EventLog, rows: int) -> float:
    """Of a ring of so many rows, those that the log's users have filled by now, on average."""
    found = [np.unique(log.read(low, high).user, return_counts=True) for low, high in log.parts()]
    users, whose = np.unique(np.concatenate([user for user, _ in found]), return_inverse=True)
    counts = np.bincount(whose, np.concatenate([count for _, count in found]), len(users))
    return float(np.minimum(counts, rows).mean())
