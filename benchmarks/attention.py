"""One layer of target attention over full windows, forward and with gradients: the fused, folded and projected ways.

python -m benchmarks.attention [--full] [--threads 2] [--repeats 7] [--out results.jsonl]

``projected`` is the package's own, made for few histories with many targets and left out where there are more histories;
``projected, batched`` is the strongest ordinary way that we know for windows of one length: keys and values of all
histories in one product, then batched products.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import median_seconds, print_table, write_result
from marm.nn.attention import TargetAttention
from marm.nn.codec import CODECS, Codec
from marm.nn.dense import steady_rows
from marm.nn.operands import Operands, plan_work
from marm.nn.plain import rows_of
from marm.nn.views import Views

HEADS, OUTCOMES, DEPTHS = 4, 4, 2
BATCHED = "projected, batched"
WAYS = ["fused", "folded", "projected", BATCHED]
FEW = 16
"""Histories up to which the package's projected way is measured."""

CHECKED = 1e-4
"""Largest difference between two ways, as a share of the largest number."""

Way = Callable[[], Tensor]


@dataclass(frozen=True)
class Shape:
    """``targets`` of each of ``histories`` users attend to the same ``window`` rows."""

    histories: int
    targets: int
    window: int
    width: int


@dataclass(frozen=True)
class Layer:
    """A layer and what it reads."""

    shape: Shape
    attention: TargetAttention
    target: Tensor
    live: Tensor
    ops: Operands

    def leaves(self) -> list[Tensor]:
        """What takes a gradient."""
        return [self.target, *self.attention.parameters()]


def make(shape: Shape, codec: Codec = CODECS["float16"]) -> Layer:
    """Full windows of remembered rows, each user's in one run somewhere in a large block."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    b, n = shape.histories, shape.window
    rows_at = np.arange(b + 1) * n
    time = np.cumsum(random.exponential(3e8, (b, n)).astype(np.int64), 1)
    segment = np.repeat(np.arange(b), shape.targets)
    first = np.arange(b * n) % n == 0
    views = Views(
        time.reshape(-1),
        time.reshape(-1),
        random.integers(1, OUTCOMES, b * n).astype(np.int16),
        np.where(first, -1, np.arange(b * n) - 1),
        np.arange(b * n),
        rows_at[segment],
        rows_at[segment + 1],
        time[segment, -1] + random.integers(1, 10**9, len(segment)),
    )
    block = codec.encode(torch.randn(2 * b * n, DEPTHS, shape.width)).flatten(1)
    at = (random.permutation(2 * b)[:b, None] * n + np.arange(n)).reshape(-1)
    attention = TargetAttention(shape.width, HEADS, torch.eye(OUTCOMES))
    beside = np.zeros((0, b * n), np.int64)
    work = plan_work(views, segment, rows_at)
    ops = Operands(work, block, codec.columns(shape.width), at, beside, attention.spans)
    live = torch.randn(len(segment), shape.width)
    return Layer(shape, attention, torch.randn(len(segment), shape.width, requires_grad=True), live, ops)


class Batched:
    """Keys and values of every row, all histories in one product; codes are added to logits and to values."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        shape = layer.shape
        spread = (shape.histories, shape.targets, 1, shape.window)
        self.codes = [
            torch.from_numpy(c).view(spread).expand(-1, -1, HEADS, -1).contiguous() for c in layer.ops.pair_codes()
        ]

    def __call__(self) -> Tensor:
        """(Q, D), equal to what the layer gives."""
        shape, attention, ops = self.layer.shape, self.layer.attention, self.layer.ops
        b, m, n, d = shape.histories, shape.targets, shape.window, shape.width
        rows = rows_of(ops, self.layer.live, self.layer.live)[:, 0]
        codes = torch.cat([attention.outcome_parts @ attention.outcome_rows, attention.other_rows])
        query, key, value = (w.view(d, d) for w in (attention.query, attention.key, attention.value))
        q = (self.layer.target @ query.T / math.sqrt(d // HEADS)).view(b, m, HEADS, -1)
        keys, values = ((rows @ w.T).view(b, n, HEADS, -1) for w in (key, value))
        code_keys, code_values = ((codes @ w.T).view(len(codes), HEADS, -1) for w in (key, value))
        tab = torch.einsum("bmhk,chk->bmhc", q, code_keys) + attention._lean(codes)
        logit = torch.einsum("bmhk,bnhk->bmhn", q, keys)
        for code in self.codes:
            logit = logit + tab.gather(3, code)
        null = int(ops.spans[2])
        weight = torch.cat([logit, tab[..., null : null + 1]], 3).softmax(3)
        bins = torch.zeros_like(tab)
        for code in self.codes:
            bins = bins.scatter_add(3, code, weight[..., :n])
        bins = bins.index_add(3, torch.tensor([null]), weight[..., n:])
        taken = weight[..., :n] * attention._worths()[torch.arange(HEADS)[:, None], self.codes[0]]
        summed = torch.einsum("bmhn,bnhk->bmhk", taken, values)
        summed = summed + torch.einsum("bmhc,chk->bmhk", bins, code_values)
        return torch.einsum("bmhk,hkd->bmd", summed, attention.out).view(b * m, d)


def ways_of(layer: Layer) -> dict[str, Way]:
    """Each way to attend, by name."""

    def own(way: str) -> Way:
        return lambda: layer.attention(layer.target, layer.live, layer.live, layer.ops, way)

    ways: dict[str, Way] = {"fused": own("fused"), "folded": own("folded"), BATCHED: Batched(layer)}
    return ways | ({"projected": own("projected")} if layer.shape.histories <= FEW else {})


def seconds(layer: Layer, threads: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each way, forward without gradients and forward with backward; all give the same numbers."""
    found: dict[str, tuple[float, float]] = {}
    wanted = None
    for name, way in ways_of(layer).items():

        def both(way: Way = way) -> object:
            return torch.autograd.grad(way().square().sum(), layer.leaves(), allow_unused=True)

        with steady_rows():
            with torch.no_grad():
                out = way()
                wanted = out if wanted is None else wanted
                if (out - wanted).abs().max() > CHECKED * wanted.abs().max():
                    raise AssertionError(f"{name} and fused differ for {layer.shape}")
                forward = best_seconds(way, name, threads, repeats)
            found[name] = (forward, best_seconds(both, name, threads, repeats))
    return found


def best_seconds(work: Callable[[], object], name: str, threads: int, repeats: int) -> float:
    """Median on one thread or on ``threads`` of torch, whichever is faster: on a busy machine more of them may lose."""
    # The fused way deals out its own work; the trainer leaves the small products around it one thread.
    medians = []
    for count in {1} if name == "fused" else {1, threads}:
        torch.set_num_threads(count)
        medians.append(median_seconds(work, repeats))
    return min(medians)


def shapes(full: bool) -> list[Shape]:
    """As many targets as a step has: 1,024 at n = 100, 256 at n = 1,000."""
    sizes = [(100, 1024), (1000, 256)] if full else [(100, 256)]
    return [
        Shape(max(total // targets, 1), targets, window, width)
        for width in (64, 32)
        for window, total in sizes
        for targets in (1, 16, 500)
    ]


def ratio(found: dict[str, tuple[float, float]], which: int) -> float:
    """The better projected way's time over the better folded way's."""
    best = {kind: min(v[which] for k, v in found.items() if k.startswith(kind)) for kind in ("f", "projected")}
    return best["projected"] / best["f"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes to report; else a quarter of them, n = 100 only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    rows: list[list[object]] = []
    figures: list[dict[str, Any]] = []
    for shape in shapes(args.full):
        found = seconds(make(shape), args.threads, args.repeats)
        name = f"n={shape.window}, d={shape.width}, {shape.targets} targets x {shape.histories}"
        for i, what in enumerate(("forward", "and backward")):
            times = [found[way][i] * 1e3 if way in found else None for way in WAYS]
            rows.append([f"{name}, {what}", *times, ratio(found, i)])
        ways = {way: {"forward_ms": v[0] * 1e3, "both_ms": v[1] * 1e3} for way, v in found.items()}
        figures.append(vars(shape) | {"ways": ways, "ratio_forward": ratio(found, 0), "ratio_both": ratio(found, 1)})
    head = ["ms a layer", *WAYS, "best projected / best folded"]
    print_table(f"target attention, {HEADS} heads, {args.threads} threads", head, rows)
    goal = next(f for f in figures if (f["targets"], f["window"], f["width"]) == (1, 100, 64))
    print(
        f"  one target a history, n=100, d=64: folding is {goal['ratio_forward']:.1f} times as fast forward, "
        f"{goal['ratio_both']:.1f} times with gradients (goal: 8)"
    )
    config = {"full": args.full, "threads": args.threads, "heads": HEADS, "repeats": args.repeats}
    write_result("attention", config, {"shapes": figures}, args.out)


if __name__ == "__main__":
    main()
