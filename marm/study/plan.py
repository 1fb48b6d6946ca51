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
from marm.study.scaling import LEAST, Size, places_of
from marm.train.setup import ring_shape
from marm.types import F64

BEYOND = 4.0
"""How many times the study's largest C may be planned: a law says little far from where it was fitted."""

_STEP = 2**0.25
_PICKED, _SIZES = "picked", ("layers", "window", "width")
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
    latency: "Cost"
    flops: "Cost"
    search: dict[str, Any] | None
    """How its places search, where they differ in K."""

    @property
    def largest(self) -> float:
        """The largest C = L n d."""
        return max(float(place["layers"] * place["window"] * place["width"]) for place in self.places)

    @property
    def picked(self) -> list[int]:
        """Every K of its places, where they differ."""
        return sorted({place[_PICKED] for place in self.places}) if self.search else []


@dataclass(frozen=True)
class Cost:
    """cost = e^a L^b n^c d^e, and K^f times a constant where a search picks K rows, fitted to a study's places."""

    powers: F64
    error: float
    """Standard deviation of its logarithm around it, by places left out one at a time."""

    def at(self, size: Size) -> float:
        """Expected."""
        return float(np.exp(_logs([size])[0] @ self.powers))

    def most(self, size: Size) -> float:
        """One standard deviation above: what a budget is held against."""
        return self.at(size) * math.exp(self.error)


def _logs(sizes: Sequence[Size]) -> F64:
    """(sizes, 6): what a cost is a product of, in logarithms."""
    size: F64 = np.array(sizes, np.float64)
    picked = size[:, 3]
    return np.column_stack([np.ones(len(size)), np.log(size[:, :3]), picked > 0, np.log(np.maximum(picked, 1))])


@dataclass(frozen=True)
class Choice:
    """One size, what it is expected to bring, and what it costs at scale."""

    size: Size
    codec: str
    gauc: float
    low: float
    high: float
    row_bytes: int
    """Of one event: states and facts."""
    rows: int
    """Of a full ring."""
    state_bytes: int
    """Of one event's states alone."""
    searched: int
    """Rows that a search looks through; 0 without one."""
    key_bytes: int
    """Of what it reads of each, at one layer."""
    milliseconds: float
    most_milliseconds: float
    flops: float
    """Of one event."""
    extrapolated: bool
    """Whether C is above the study's."""

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
    search = _search(places, path)
    if not search:  # what all have alike says nothing of K
        places = [{**place, _PICKED: 0} for place in places]
    sizes = [Size(*(place[name] for name in (*_SIZES, _PICKED))) for place in places]
    if len(sizes) < LEAST or len({size.numbers for size in sizes}) < LEAST:
        raise FolderError(f"{path}: {len(sizes)} places: a law needs {LEAST} of different size; study more of them")
    columns = ("gauc", "milliseconds_500", "flops_per_event")
    gauc, took, flops = (np.array([place[name] for place in places], np.float64) for name in columns)
    return Studied(places, fit(places_of(sizes), gauc), _cost(sizes, took), _cost(sizes, flops), search)


def _search(places: list[dict[str, Any]], path: Path) -> dict[str, Any] | None:
    """How places search, but for K, where they differ in that; errors: ``FolderError`` where they differ in more."""
    if len({place.get(_PICKED) for place in places}) < 2 or not all(_PICKED in place for place in places):
        return None
    ways = [{name: value for name, value in place["search"].items() if name != _PICKED}
            for place in places if place.get("search")]  # fmt: skip
    if not ways or any(way != ways[0] for way in ways):
        raise FolderError(
            f"{path}: places search by several rules or none: study one rule of [memory.search] at a time"
        )
    return ways[0]


def _cost(sizes: list[Size], spent: F64) -> Cost:
    x, y = _logs(sizes), np.log(spent)
    wrong = []
    for out in range(len(y)):
        kept = np.arange(len(y)) != out
        powers = np.linalg.lstsq(x[kept], y[kept], rcond=None)[0]
        wrong.append(float(y[out] - x[out] @ powers))
    return Cost(np.asarray(np.linalg.lstsq(x, y, rcond=None)[0]), float(np.sqrt(np.mean(np.square(wrong)))))


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


def _sizes(run: RunConfig, studied: Studied) -> list[Size]:
    layers, windows, widths = (sorted({place[name] for place in studied.places}) for name in _SIZES)
    heads, most = run.model.heads, BEYOND * studied.largest
    own = run.memory.search.picked if run.memory.search else 0
    found = product(layers, _between(windows, 1), _between(widths, heads), _picks(studied.picked) or [own])
    sizes = [Size(*size) for size in found]
    return [size for size in sizes if size.numbers <= most and size.window >= run.train.segment]


def _between(studied: list[int], step: int) -> list[int]:
    """The studied ones, others in between and up to ``BEYOND`` times the largest, all multiples of ``step``."""
    steps = math.ceil(math.log(BEYOND * studied[-1] / studied[0], _STEP))
    others = (studied[0] * _STEP**i for i in range(steps + 1))
    return sorted({*studied, *(max(step, round(value / step) * step) for value in others)})


def _picks(studied: list[int]) -> list[int]:
    """The studied ones and others in between, none beyond: nothing says how a search's gain ends."""
    some = [picked for picked in studied if picked]
    return sorted({*studied, *(picked for picked in _between(some, 1) if picked < some[-1])}) if some else studied


def _choices(run: RunConfig, log: EventLog, studied: Studied, codecs: Sequence[str]) -> list[Choice]:
    sizes = _sizes(run, studied)
    at = places_of(sizes)
    told = np.column_stack([studied.fit.law.at(at), *studied.fit.band(at)])
    out = []
    for size, (gauc, low, high) in zip(sizes, told.tolist(), strict=True):
        for codec in codecs:
            sized = _sized(run, studied, size, codec)
            shape = ring_shape(sized, log, outstanding=0)
            one = Choice(
                size, codec, gauc, low, high,
                row_bytes=shape.state_bytes + shape.facts.itemsize,
                rows=shape.capacity,
                state_bytes=shape.state_bytes,
                searched=shape.searched,
                key_bytes=_key_bytes(sized, shape),
                milliseconds=studied.latency.at(size),
                most_milliseconds=studied.latency.most(size),
                flops=studied.flops.at(size),
                extrapolated=size.numbers > studied.largest,
            )  # fmt: skip
            out.append(one)
    return out


def _sized(run: RunConfig, studied: Studied, size: Size, codec: str) -> RunConfig:
    """A run of this size, that keeps no facts beyond its rings."""
    if studied.search:
        run = laid_over(run, {"memory": {"search": {**studied.search, _PICKED: max(size.picked, 1)}}})
    return laid_over(size.over(run), {"memory": {"codec": codec, "facts": 1}})


def _key_bytes(run: RunConfig, shape: RingShape) -> int:
    """What a layer's search reads of an event: signs, a category, or by ``dot`` the state itself."""
    if not run.memory.search:
        return 0
    if run.memory.search.rule == "dot":
        return shape.coding.bytes(shape.width)
    return run.memory.search.bits // 8 if run.memory.search.rule == "hash" else 8


def _rows_now(log: EventLog, rows: int) -> float:
    """Of a ring of so many rows, those that the log's users have filled by now, on average."""
    found = [np.unique(log.read(low, high).user, return_counts=True) for low, high in log.parts()]
    users, whose = np.unique(np.concatenate([user for user, _ in found]), return_inverse=True)
    counts = np.bincount(whose, np.concatenate([count for _, count in found]), len(users))
    return float(np.minimum(counts, rows).mean())
