"""`marm study complexity`: what a target costs against the window n and the layers L (the paper's figure 2).

self-attention       a causal encoder over the n rows of each target, O(L n^2 d)
recomputed           MARM's layers over the L x n rows that the target reaches, all made anew, O(L n x L n d)
MARM                 MARM's layers over n remembered rows, O(L n d)
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marm.config import RunConfig
from marm.config.load import check_run
from marm.model.features import Encoded
from marm.model.inputs import Pass
from marm.model.reader import Reader, Size
from marm.nn.operands import plan_work
from marm.nn.views import Views
from marm.rivals import make_reader
from marm.study.runs import write_lines
from marm.train.results import commit, machine

WAYS = {"self-attention": "sasrec", "recomputed": "recompute", "MARM": "marm"}
ITEMS = 5000
REPEATS, LEAST_SECONDS = 5, 0.2


@dataclass(frozen=True)
class Setting:
    """One place that is measured."""

    way: str
    window: int
    layers: int
    width: int
    users: int
    """Targets of a pass, each of a user of its own: where memory counts most."""

    @property
    def rows(self) -> int:
        """Rows of history that the pass reads for a target."""
        return self.window * (self.layers if self.way == "recomputed" else 1)


@dataclass(frozen=True)
class Cost:
    """What was measured and counted for one target."""

    setting: Setting
    milliseconds: float
    """Of one core, the fastest pass, forward alone: counted while this thread runs, whatever else the machine does."""
    flops: int
    """Multiply-adds x 2 of products of matrices."""

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        return {**asdict(self.setting), "ms_per_target": self.milliseconds, "flops_per_target": self.flops}


def study_complexity(
    out: Path, windows: Sequence[int], layers: Sequence[int], width: int, users: int, told: Callable[[str, float], None]
) -> list[Cost]:
    """Measure along both axes, through the middle of the other, in one run; leaves ``costs.jsonl`` in ``out``.

    ``told``: called with what is measured and the share that is done.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = list(_settings(windows, layers, width, users))
    costs = []
    for number, setting in enumerate(settings):
        told(f"{setting.way}, n = {setting.window}, L = {setting.layers}", number / len(settings))
        costs.append(measure(setting))
    where = {"commit": commit(), "machine": machine()}
    write_lines(out / "costs.jsonl", (cost.line() | where for cost in costs))
    return costs


def middle(values: Sequence[int]) -> int:
    """The one that the other axis is measured at."""
    return sorted(values)[len(values) // 2]


def _settings(windows: Sequence[int], layers: Sequence[int], width: int, users: int) -> Iterator[Setting]:
    places = [(n, middle(layers)) for n in windows] + [(middle(windows), depth) for depth in layers]
    for window, depth in dict.fromkeys(places):
        for way in WAYS:
            yield Setting(way, window, depth, width, users)


def measure(setting: Setting) -> Cost:
    """Time one pass again and again, on one thread; the first does not count."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = run_of(setting)
    reader, item_UD, passed = make_reader(run), torch.randn(ITEMS, setting.width), history(setting, run.depths)
    with torch.no_grad():
        seconds = _least(lambda: reader(item_UD, passed))
    flops = flops_of(reader, setting)
    return Cost(setting, seconds / setting.users * 1000, flops // setting.users)


def flops_of(reader: Reader, setting: Setting) -> int:
    """Of the whole pass; a way's own table of items is left out, since all have it."""
    return reader.flops(Size(setting.users, setting.users * setting.rows, 0, setting.window))


def _least(work: Callable[[], object]) -> float:
    work()
    took: list[float] = []
    while len(took) < REPEATS or (sum(took) < LEAST_SECONDS and len(took) < 100):
        began = time.thread_time()
        work()
        took.append(time.thread_time() - began)
    return min(took)


def run_of(setting: Setting) -> RunConfig:
    """Settings that a reader is made from; there is no log."""
    raw = {
        "data": {"log": "none", "user": "user", "item": "item", "time": "time"},
        "tasks": {"click": {"column": "click"}},
        "model": {"kind": WAYS[setting.way], "layers": setting.layers, "width": setting.width},
        "memory": {"window": setting.window},
        "train": {"live": 1},
    }
    return check_run(raw, "complexity")


def history(setting: Setting, depths: int) -> Pass:
    """Users with full histories of random items, one target each; ``depths`` of every row are remembered."""
    users, rows = setting.users, setting.rows
    rng = np.random.default_rng(0)
    total = users * rows
    at = np.arange(total)
    asked = np.full(users, rows + 1) * 1_000_000
    end = (np.arange(users) + 1) * rows
    previous = np.where(at % rows == 0, -1, at - 1)
    outcome = rng.integers(1, 3, total).astype(np.int16)
    seconds = (at % rows) * 1_000_000
    views = Views(seconds, seconds, outcome, previous, at % rows, end - setting.window, end, asked)
    segment, rows_at = np.arange(users), np.arange(users + 1) * rows
    block = torch.randn(total, depths * setting.width).to(torch.float16)
    return Pass(
        Encoded(ITEMS, []), Encoded(users, []), Encoded(users, []),
        rng.integers(0, ITEMS, users), segment, segment, rng.integers(0, ITEMS, total),
        views, plan_work(views, segment, rows_at), block, at,
    )  # fmt: skip


def slope(costs: Sequence[Cost], axis: str, figure: Callable[[Cost], float]) -> float:
    """Exponent by which a cost grows along an axis (``window``, ``layers``): a line through the logarithms."""
    x = np.log([getattr(cost.setting, axis) for cost in costs])
    return float(np.polyfit(x, np.log([figure(cost) for cost in costs]), 1)[0])


def along(costs: Sequence[Cost], way: str, axis: str, other: str, at: int) -> list[Cost]:
    """One way's costs along an axis, where the other stands ``at`` its middle."""
    own = [cost for cost in costs if cost.setting.way == way and getattr(cost.setting, other) == at]
    return sorted(own, key=lambda cost: int(getattr(cost.setting, axis)))
