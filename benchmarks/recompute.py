"""One request's pass: states from memory, against the same model that makes them anew from the raw history at each request.

python -m benchmarks.recompute [--full] [--repeats 7] [--out results.jsonl]

The rival keeps everything but the memory: embeddings, projections, feed-forward, tower. Its history goes through all layers
in one causal pass (torch's own attention, keys and values projected once), and its candidates read those keys and values.
It adds no time gap and no rank to what rows see of each other, which would cost it more. Both run on one thread: dealt to
two, the rival would make the history twice.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import print_table, write_result
from benchmarks.logs import ITEMS, PLAIN, START, in_rounds, run_over, write_log
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.engine.batch import Batch
from marm.engine.engine import Engine
from marm.model.inputs import Pass
from marm.model.reader import Made
from marm.model.stack import Layer, TargetAttentionStack
from marm.nn.blocks import row_norm
from marm.nn.one_view import attend_one_view
from marm.train.setup import build, set_threads

LAYERS, WIDTH = 4, 64


class Recomputed(nn.Module):
    """Stands where the stack does: the history's states are made in the pass, from live embeddings."""

    def __init__(self, stack: TargetAttentionStack) -> None:
        super().__init__()
        self.layers, self.coded = stack.layers, stack.coded

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One user's rows and the queries that see all of them."""
        row_ND = item_UD[torch.from_numpy(batch.item_of_row)]
        state_QD = item_UD[torch.from_numpy(batch.item_of_query)]
        outcome = torch.from_numpy(batch.views.outcome.astype(np.int64))
        told, heard, target_QD = [], [], state_QD
        for layer in self.layers:
            assert isinstance(layer, Layer)
            row_ND, state_QD, said = _layer(layer, row_ND, state_QD, outcome)
            told.append(state_QD - target_QD)
            heard.append(said)
        return Made(told, [], heard)


def _layer(layer: Layer, row_ND: Tensor, state_QD: Tensor, outcome: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a layer makes of the rows, each of those before it, and of the queries; and what these heard of outcomes."""
    attention = layer.attention
    codes = attention.outcome_parts @ attention.outcome_rows
    x_ND, scale = row_norm(row_ND) + codes[outcome], (attention.width // attention.heads) ** -0.5
    q, key, value = (torch.einsum("nd,hkd->hnk", x, w) for x, w in _projections(attention, row_norm(row_ND), x_ND))
    made_HNK = functional.scaled_dot_product_attention(q[None], key[None], value[None], is_causal=True, scale=scale)[0]
    said = torch.cat([attention.outcome_parts[outcome], torch.zeros(len(outcome), 1)], 1)
    wide = torch.cat([value.mT, said.T.expand(attention.heads, -1, -1)], 1)
    asked = torch.einsum("qd,hkd->hqk", row_norm(state_QD), attention.query) * scale
    read = attend_one_view(asked, key.mT, wide)
    inner = attention.width // attention.heads
    row_ND = row_ND + torch.einsum("hnk,hkd->nd", made_HNK, attention.out)
    state_QD = state_QD + torch.einsum("hqk,hkd->qd", read[:, :, :inner], attention.out)
    row_ND, state_QD = (s + layer.feed_forward(row_norm(s)) for s in (row_ND, state_QD))
    return row_ND, state_QD, read[:, :, inner:].transpose(0, 1).flatten(1)


def _projections(attention: nn.Module, asks: Tensor, x_ND: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(asks, attention.query), (x_ND, attention.key), (x_ND, attention.value)]  # type: ignore[list-item]


def engine_with_history(folder: Path, window: int) -> Engine:
    """An engine, weights as the seed makes them, whose one user has ``window`` remembered events."""
    write_log(folder / "log", in_rounds(1, window))
    sections = {
        "model": {"layers": LAYERS, "width": WIDTH},
        "memory": {"window": window, "url": "arena://", "facts": window + 64},
        "train": {"device": "cpu"},
    }
    run = run_over(folder / "log", PLAIN, **sections)
    prepare(run, folder / "events")
    log = EventLog(folder / "events")
    set_threads(run)
    engine = build(run, log, folder, threads=1).engine
    _fill(engine, log, window)
    return engine


def _fill(engine: Engine, log: EventLog, window: int) -> None:
    events, memory = log.read(0, window), engine.memory
    facts = np.zeros(window, memory.shape.facts)
    facts["time"], facts["known"], facts["item"], facts["outcome"] = events.time, events.known, events.item, 1
    facts["columns"] = np.stack(list(events.item_columns.values()), 1) if events.item_columns else 0
    users = events.user[:1]
    memory.admit(users, 0)
    states = torch.randn(window, memory.shape.depths * memory.shape.width).to(memory.hot.states.dtype)
    memory.remember(users, np.array([window]), facts, states, np.array([window]))


def request(engine: Engine, user: np.uint64, items: np.ndarray) -> Batch:
    """A user asked about items, after all its events."""
    count, columns = len(items), len(engine.memory.shape.item_columns)
    at = np.full(count, (START + 10**7) * 10**6)
    return Batch(
        users=np.array([user]),
        user_columns={},
        since=at[:1],
        segment=np.zeros(count, np.int64),
        item=items,
        item_columns=np.zeros((count, columns), np.uint64),
        time=at,
        context={},
        live=np.zeros(count, bool),
        known=at,
        outcome=np.zeros(count, np.int16),
    )


def milliseconds(engine: Engine, candidates: int, repeats: int) -> tuple[float, float]:
    """Medians of a pass with memory and of one that recomputes, the two in turn."""
    random = np.random.default_rng(candidates)
    stack, user = engine.model.stack, engine.memory.hot.users[engine.memory.hot.held()[0]]
    ways: dict[str, nn.Module] = {"memory": stack, "recomputed": Recomputed(stack)}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        batch = request(engine, user, random.choice(ITEMS, candidates, replace=False).astype(np.uint64))
        for name, way in ways.items():
            engine.model.stack = way  # type: ignore[assignment]
            begun = time.perf_counter()
            with torch.no_grad():
                engine.attend(batch)
            if repeat:
                took[name].append((time.perf_counter() - begun) * 1000)
    engine.model.stack = stack
    return median(took["memory"]), median(took["recomputed"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="n = 100, 1,000 and 10,000; else 100 and 500")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    rows = []
    for window in (100, 1_000, 10_000) if args.full else (100, 500):
        with tempfile.TemporaryDirectory() as base:
            engine = engine_with_history(Path(base), window)
            for candidates in (1, 50, 500):
                memory, recomputed = milliseconds(engine, candidates, args.repeats)
                rows.append([window, candidates, memory, recomputed, recomputed / memory])
    head = ["n", "candidates", "memory ms", "recomputed ms", "ratio"]
    print_table(f"one request, L = {LAYERS}, d = {WIDTH}", head, rows)
    config = {"layers": LAYERS, "width": WIDTH, "repeats": args.repeats, "full": args.full}
    write_result("recompute", config, {"passes": [dict(zip(head, row, strict=True)) for row in rows]}, args.out)


if __name__ == "__main__":
    main()
