"""What a codec of the states costs: bytes of a user, a layer's fused attention, and a request with 500 candidates.

python -m benchmarks.codecs [--full] [--repeats 40] [--out results.jsonl]

Codecs take turns, so that what else the machine does meets all of them; a ratio is the median over turns of one codec's time
over float16's. Seconds are the processor's, of one thread.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.attention import HEADS, OUTCOMES, Layer, Shape, make
from benchmarks.common import print_table, write_result
from marm.config import ModelConfig
from marm.memory.memory import RingShape
from marm.model.features import Encoded
from marm.model.inputs import Pass
from marm.model.stack import TargetAttentionStack
from marm.nn.codec import CODECS
from marm.nn.dense import steady_rows

LAYERS, WIDTH, CANDIDATES = 4, 64, 500
BESIDE = "float16"
"""What the others are measured against."""

Work = Callable[[], object]


def training(shape: Shape, codec: str) -> dict[str, Work]:
    """One layer over full windows, one target each, as the stream runs it."""
    layer = make(shape, CODECS[codec])

    def forward() -> object:
        with steady_rows(), torch.no_grad():
            return attend(layer)

    def both() -> object:
        with steady_rows():
            return torch.autograd.grad(attend(layer).square().sum(), layer.leaves(), allow_unused=True)

    return {"forward": forward, "and backward": both}


def attend(layer: Layer) -> torch.Tensor:
    """The fused way."""
    return layer.attention(layer.target, layer.live, layer.live, layer.ops, "fused")


def request(window: int, codec: str) -> Work:
    """All layers over one user's window for candidates that see the same, as a server runs it."""
    ops = make(Shape(1, CANDIDATES, window, WIDTH), CODECS[codec]).ops
    block = CODECS[codec].encode(torch.randn(2 * window, LAYERS - 1, WIDTH)).flatten(1)
    torch.manual_seed(0)
    config = ModelConfig(layers=LAYERS, width=WIDTH, heads=HEADS)
    stack, nothing = TargetAttentionStack(config, torch.eye(OUTCOMES), codec), Encoded(0, [])
    none, views = np.zeros(CANDIDATES, np.int64), ops.views
    item_UD = torch.randn(window + CANDIDATES, WIDTH)
    candidates, rows = window + np.arange(CANDIDATES), np.arange(window)
    asked = Pass(nothing, nothing, nothing, candidates, none, none, rows, views, ops.work, block, ops.at)

    def answer() -> object:
        with torch.no_grad():
            return stack(item_UD, asked)

    return answer


def in_turns(works: dict[str, Work], repeats: int) -> dict[str, list[float]]:
    """Seconds of each work, one after the other in every round; the first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for counted in [False, *[True] * repeats]:
        for name, work in works.items():
            begun = time.process_time()
            work()
            if counted:
                found[name].append(time.process_time() - begun)
    return found


def compared(works: dict[str, Work], repeats: int) -> dict[str, dict[str, float]]:
    """Of each codec the median seconds, and the median of its time over float16's of the same round."""
    found = in_turns(works, repeats)
    return {
        name: {
            "seconds": median(times),
            "ratio": median(t / other for t, other in zip(times, found[BESIDE], strict=True)),
        }
        for name, times in found.items()
    }


def bytes_of_user(codec: str, window: int) -> int:
    """States of a full window."""
    return RingShape(LAYERS - 1, WIDTH, codec, (), window, window).state_bytes * window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="n = 1,000 and 256 histories; else n = 100")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    window, targets = (1000, 256) if args.full else (100, 256)
    layers = {codec: training(Shape(targets, 1, window, WIDTH), codec) for codec in CODECS}
    measured = {
        what: compared({codec: works[what] for codec, works in layers.items()}, args.repeats)
        for what in ("forward", "and backward")
    }
    measured["request"] = compared({codec: request(window, codec) for codec in CODECS}, args.repeats)
    rows: list[list[object]] = []
    figures = {}
    for codec in CODECS:
        forward, both, answer = (measured[what][codec] for what in ("forward", "and backward", "request"))
        figures[codec] = {
            "bytes_per_user": bytes_of_user(codec, window),
            "forward_per_s": targets / forward["seconds"],
            "forward_ratio": forward["ratio"],
            "both_per_s": targets / both["seconds"],
            "both_ratio": both["ratio"],
            "request_ms": answer["seconds"] * 1e3,
            "request_ratio": answer["ratio"],
        }
        rows.append([codec, *figures[codec].values()])
    head = ["codec", "bytes a user", "forward/s", "ratio", "both/s", "ratio", "request ms", "ratio"]
    title = (
        f"n={window}, d={WIDTH}: a layer of {targets} targets; {LAYERS} layers of {CANDIDATES} candidates with one view"
    )
    print_table(title, head, rows)
    config = {"window": window, "width": WIDTH, "layers": LAYERS, "heads": HEADS, "targets": targets}
    write_result("codecs", config | {"repeats": args.repeats}, {"codecs": figures}, args.out)


if __name__ == "__main__":
    main()
