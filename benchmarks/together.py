"""Targets that share a view: its rows projected once for all of them, against each target alone; both forward.

python -m benchmarks.together [--full] [--repeats 7] [--out results.jsonl]

From how many targets on a view is worth projecting: what ``marm.nn.operands.TOGETHER`` was chosen by.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.attention import CHECKED, HEADS, Layer, Shape, make
from benchmarks.common import median_seconds, print_table, write_result
from marm.nn.operands import Operands, plan_work

WIDTH, LAYERS = 64, 3
TARGETS = (16, 32, 64, 96, 128, 256)


def sharing(shape: Shape) -> Layer:
    """Each user's targets ask at one time."""
    layer = make(shape)
    views, work = layer.ops.views, layer.ops.work
    segment = np.repeat(np.arange(shape.histories), shape.targets)
    asked = views.asked.reshape(shape.histories, -1).max(1)[segment]
    return replace(layer, ops=replace(layer.ops, work=plan_work(replace(views, asked=asked), segment, work.rows_at)))


def seconds(layer: Layer, repeats: int) -> tuple[float, float]:
    """Median seconds of ``LAYERS`` layers, views projected and each target alone, with what a pass finds out first."""
    target, live = layer.target.detach(), layer.live

    def together() -> torch.Tensor:
        ops = fresh(layer)
        parts = ops.work.parted(1)
        for _ in range(LAYERS):
            out = layer.attention._by_view(target, live, live, ops, parts)[0]
        return out

    def alone() -> torch.Tensor:
        ops = fresh(layer)
        for _ in range(LAYERS):
            out = layer.attention.read(target, live, live, ops, "fused")[0]
        return out

    with torch.no_grad():
        one, other = together(), alone()
        if (one - other).abs().max() > CHECKED * other.abs().max():
            raise AssertionError(f"the two ways differ for {layer.shape}")
        return median_seconds(together, repeats), median_seconds(alone, repeats)


def fresh(layer: Layer) -> Operands:
    """As of a pass that has just begun: nothing is found out yet."""
    return replace(layer.ops, work=replace(layer.ops.work))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes to report; else few of them")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    users, windows = ((1, 8, 32), (16, 100, 400)) if args.full else ((1, 8), (100,))
    rows: list[list[object]] = []
    figures: list[dict[str, Any]] = []
    for count in users:
        for window in windows:
            shapes = [Shape(count, targets, window, WIDTH) for targets in TARGETS]
            found = [seconds(sharing(shape), args.repeats) for shape in shapes]
            rows.append([f"{count} users, n={window}", *(alone / together for together, alone in found)])
            figures += [
                vars(shape) | {"together_ms": together * 1e3, "alone_ms": alone * 1e3, "ratio": alone / together}
                for shape, (together, alone) in zip(shapes, found, strict=True)
            ]
    head = ["time alone / together", *(f"{targets} targets each" for targets in TARGETS)]
    print_table(f"{LAYERS} layers, d={WIDTH}, {HEADS} heads, one thread", head, rows)
    config = {"full": args.full, "layers": LAYERS, "heads": HEADS, "repeats": args.repeats}
    write_result("together", config, {"shapes": figures}, args.out)


if __name__ == "__main__":
    main()
