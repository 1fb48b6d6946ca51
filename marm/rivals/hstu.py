"""HSTU, Hierarchical Sequential Transduction Unit (Zhai et al. 2024, arXiv 2402.17152), as a reader."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import ModelConfig, RunConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.blocks import Linear, row_norm
from marm.nn.views import GAPS, gap_edges
from marm.rivals.seen import Seen, Signals
from marm.types import I64


class LookUp(torch.autograd.Function):
    """``table_C[at]`` whose way back is one count by place: torch's own takes ten times as long for a table this small."""

    @staticmethod
    def forward(ctx: Any, table_C: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.places = len(table_C)
        return table_C[at]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (at,) = ctx.saved_tensors
        return torch.bincount(at.flatten(), grads[0].flatten(), minlength=ctx.places).to(grads[0].dtype), None


class Unit(nn.Module):
    """U, V, Q, K = SiLU(f1(LN(X))); Y = f2(LN(SiLU(Q K^T + rab) V / N) * U), with a residual around; no softmax."""

    def __init__(self, config: ModelConfig, window: int) -> None:
        super().__init__()
        width, self.heads, self.longest = config.width, config.heads, window + 2
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.outward = Linear(width, 4 * width), Linear(width, width)
        self.places = nn.Parameter(torch.zeros(window + 2))
        self.gaps = nn.Parameter(torch.zeros(GAPS))

    def forward(self, x_QND: Tensor, gap_QNN: Tensor, shown_QNN: Tensor) -> tuple[Tensor, Tensor]:
        """(Q, N, D), and how position i of each sequence weighs position j: (Q, H, N, N)."""
        queries, length, width = x_QND.shape
        made = functional.silu(self.inward(self.before(x_QND.flatten(0, 1))))
        u, v, q, k = made.view(queries, length, 4, self.heads, -1).permute(2, 0, 3, 1, 4)
        weight = functional.silu(q @ k.mT + self.bias(gap_QNN)[:, None]) * shown_QNN[:, None] / self.longest
        read, gate = ((x.transpose(1, 2).reshape(-1, width)) for x in (weight @ v, u))
        return x_QND + self.outward(self.after(read) * gate).view_as(x_QND), weight

    def bias(self, gap_QNN: Tensor) -> Tensor:
        """rab: a learned number for the distance in places and one for that in time, (Q, N, N)."""
        at = torch.arange(gap_QNN.shape[1], device=gap_QNN.device)
        places_NN = self.places[(at[:, None] - at).clamp(min=0)]
        looked_up: Tensor = LookUp.apply(self.gaps, gap_QNN)  # type: ignore[no-untyped-call]
        return places_NN + looked_up

    def flops(self, queries: int, length: int) -> int:
        """Of projections and of all pairs, those that the mask hides included."""
        pairs = 4 * queries * length * length * self.outward.weight.shape[0]
        return pairs + self.inward.flops(queries * length) + self.outward.flops(queries * length)


class Hstu(Reader):
    """L units over a null row, the window's rows and the target, recomputed for each target, whose place is read.

    Time gap and rank come as the units' relative bias, the outcome as a row beside the item.
    """

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        self.window = run.memory.window
        told = run.model.model_copy(update={"time_gap": False, "rank": False})
        self.signals = Signals(told, outcomes)
        self.null = nn.Parameter(torch.randn(run.model.width) * 0.1)
        self.units = nn.ModuleList(Unit(run.model, run.memory.window) for _ in range(run.model.layers))
        self.made, self.heard = 1, run.model.heads * (self.signals.values + 1)

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One vector, and how much weight each head of the last unit put on which outcome."""
        raw_UD, query = row_norm(item_UD), torch.from_numpy(batch.item_of_query).to(item_UD.device)
        seen = self.signals.see(batch, self.window)
        x_QND = self.sequences(raw_UD[query], self.signals.rows(raw_UD, seen), seen)
        gap_QNN = torch.from_numpy(gaps(batch, seen.real.shape[1])).to(item_UD.device)
        shown_QNN = shown(seen)
        weight = x_QND.new_zeros(0)
        for unit in self.units:
            x_QND, weight = unit(x_QND, gap_QNN, shown_QNN)
        last = seen.real.sum(1) + 1
        each = torch.arange(len(last), device=last.device)
        own = weight[each, :, last]
        heard = self.signals.heard(own[:, :, 1:-1], seen, own[:, :, 0])
        return Made([x_QND[each, last] - raw_UD[query]], [], [heard])

    def sequences(self, target_QD: Tensor, rows_QND: Tensor, seen: Seen) -> Tensor:
        """The null row, the rows, the target right after the newest, then padding: (Q, N + 2, D)."""
        space = rows_QND.new_zeros(len(rows_QND), 1, rows_QND.shape[2])
        x_QND = torch.cat([self.null.expand_as(space), rows_QND, space], 1)
        place = torch.arange(x_QND.shape[1], device=x_QND.device) == seen.real.sum(1, keepdim=True) + 1
        return torch.where(place[:, :, None], target_QD[:, None], x_QND)

    def flops(self, size: Size) -> int:
        """Of every unit over every window, and of what was heard."""
        units = [unit for unit in self.units if isinstance(unit, Unit)]
        heard = 2 * size.queries * units[0].heads * size.window * self.signals.values
        return self.signals.flops() + heard + sum(unit.flops(size.queries, size.window + 2) for unit in units)


def gaps(batch: Pass, window: int) -> I64:
    """Bucket of the time between positions i and j of each sequence (null row, rows, target, padding): (Q, N + 2, N + 2)."""
    v = batch.views
    at = v.begin[:, None] + np.arange(window)
    real = at < v.end[:, None]
    time = np.repeat(v.asked[:, None], window + 2, 1)
    time[:, 1:-1][real] = v.time[at[real]]
    time[:, 0] = time[:, 1]
    apart = np.maximum(time[:, :, None] - time[:, None, :], 0)
    found: I64 = np.searchsorted(gap_edges(), apart, side="right")
    return found


def shown(seen: Seen) -> Tensor:
    """Position i sees those up to itself that are there; where nothing is, nothing: (Q, N + 2, N + 2)."""
    length = seen.real.shape[1] + 2
    at = torch.arange(length, device=seen.real.device)
    there_QN = at <= seen.real.sum(1, keepdim=True) + 1
    return (at[:, None] >= at) & there_QN[:, None, :]
