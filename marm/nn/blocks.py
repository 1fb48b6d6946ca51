"""The small parts between attention and the tasks: norm, feed-forward, experts with gates."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.nn.dense import dense, dense_each

NORM_FLOOR = 1e-2
"""Added to the mean square before the root: an id seen a few times stays short instead of being blown up to length one."""


def row_norm(x_RD: Tensor) -> Tensor:
    """Root-mean-square norm without affine: what a row of history is stored as (u_j), (R, D)."""
    return x_RD * torch.rsqrt(x_RD.square().mean(-1, keepdim=True) + NORM_FLOOR)


class Linear(nn.Module):
    """x W + b in blocks of fixed rows (see ``dense.py``)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_RK: Tensor) -> Tensor:
        """(R, K) to (R, N)."""
        return dense(x_RK, self.weight) + self.bias

    def flops(self, rows: int) -> int:
        """Multiply-adds x 2."""
        return 2 * rows * self.weight.numel()


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): (R, D) to (R, D)."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        inner = max(1, round(width * ratio))
        self.inward = Linear(width, 2 * inner)
        self.outward = Linear(inner, width)

    def forward(self, x_RD: Tensor) -> Tensor:
        """(R, D) to (R, D)."""
        gate, value = self.inward(x_RD).chunk(2, -1)
        return self.outward(functional.silu(gate) * value)  # type: ignore[no-any-return]

    def flops(self, rows: int) -> int:
        """Multiply-adds x 2."""
        return self.inward.flops(rows) + self.outward.flops(rows)


class Silent(nn.Module):
    """In the place of a feed-forward: adds nothing."""

    def forward(self, x_RD: Tensor) -> Tensor:
        """Zeros, (R, D)."""
        return torch.zeros_like(x_RD)

    def flops(self, rows: int) -> int:
        """None."""
        return 0


def feed_forward(width: int, ratio: float) -> FeedForward | Silent:
    """What a layer adds after attention, ``ratio`` times as wide inside; nothing where that is 0."""
    return FeedForward(width, ratio) if ratio else Silent()


class Experts(nn.Module):
    """Experts with a gate for each task (MMoE, Ma et al. 2018): (R, K) to (R, T, N)."""

    def __init__(self, inputs: int, width: int, experts: int, tasks: int) -> None:
        super().__init__()
        self.experts, self.tasks, self.width = experts, tasks, width
        self.first = Linear(inputs, experts * width)
        self.second = nn.ModuleList(Linear(width, width) for _ in range(experts))
        self.gate = Linear(inputs, tasks * experts)

    def forward(self, x_RK: Tensor) -> Tensor:
        """(R, K) to (R, T, N)."""
        hidden_REN = functional.silu(self.first(x_RK)).view(-1, self.experts, self.width)
        weight, bias = (torch.stack([getattr(e, part) for e in self.second]) for part in ("weight", "bias"))
        made_REN = functional.silu(dense_each(hidden_REN, weight) + bias)
        gate_RTE = self.gate(x_RK).view(-1, self.tasks, self.experts).softmax(-1)
        mixed: Tensor = (gate_RTE.unsqueeze(3) * made_REN.unsqueeze(1)).sum(2)
        return mixed

    def flops(self, rows: int) -> int:
        """Multiply-adds x 2."""
        second = 2 * rows * self.experts * self.width * self.width
        return self.first.flops(rows) + second + self.gate.flops(rows)


class Heads(nn.Module):
    """One number for each task from its own vector: (R, T, N) to (R, T)."""

    def __init__(self, width: int, tasks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tasks, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(tasks))

    def forward(self, x_RTN: Tensor) -> Tensor:
        """(R, T, N) to (R, T)."""
        # Not a matrix product: with one output column a BLAS sums in an order that depends on the number of rows.
        return (x_RTN * self.weight).sum(-1) + self.bias


def similar_heads(width: int, heads: int) -> list[Tensor]:
    """Query, key, value and out as shares of one random rotation: a layer begins as a memory of similar rows.

    A row's weight is by how like the target it is, more so from head to head, and it adds itself to the target's state.
    """
    turn = torch.linalg.qr(torch.randn(width, width))[0].contiguous().view(heads, width // heads, width)
    sharp = torch.linspace(0.5, 1.5, heads).view(-1, 1, 1)
    return [turn * sharp, turn * sharp, turn.clone(), turn.clone()]
