"""DIN, Deep Interest Network (Zhou et al. 2018, arXiv 1706.06978)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import RunConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.blocks import Linear, row_norm
from marm.rivals.seen import Signals


class Din(Reader):
    """v = sum_j a(e_j, e_y) e_j with a = MLP([e_j, e_y, e_j * e_y, e_j - e_y]); the weights are not normalised.

    PReLU instead of Dice: Dice's batch statistics would let later events move earlier predictions.
    """

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        self.window = run.memory.window
        inner, width = run.rival.activation, run.model.width
        self.signals = Signals(run.model, outcomes)
        self.inward = Linear(4 * width, inner)
        self.slope = nn.Parameter(torch.full((inner,), 0.25))
        self.outward = nn.Parameter(torch.randn(inner) / math.sqrt(inner))
        self.bias = nn.Parameter(torch.zeros(()))
        self.made, self.heard = 1, self.signals.values + 1

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One vector, and how much weight each outcome got."""
        raw_UD = row_norm(item_UD)
        seen = self.signals.see(batch, self.window)
        rows_QND = self.signals.rows(raw_UD, seen)
        target_QD = raw_UD[torch.from_numpy(batch.item_of_query).to(item_UD.device)]
        weight_QHN = (self.activation(rows_QND, target_QD) * seen.real)[:, None]
        # Divided by the window alone: a sum over many rows would drown what else goes straight to the logits.
        null_QH = (~seen.real.any(1, keepdim=True)).float()
        heard = self.signals.heard(weight_QHN / self.window, seen, null_QH)
        return Made([torch.bmm(weight_QHN, rows_QND)[:, 0]], [], [heard])

    def activation(self, rows_QND: Tensor, target_QD: Tensor) -> Tensor:
        """The activation unit: (Q, N)."""
        target = target_QD[:, None].expand_as(rows_QND)
        told = torch.cat([rows_QND, target, rows_QND * target, rows_QND - target], 2)
        hidden = functional.prelu(self.inward(told.flatten(0, 1)), self.slope)
        # Not a product of matrices: with one output column a BLAS sums in an order that depends on the number of rows.
        return (hidden * self.outward).sum(1).view(rows_QND.shape[:2]) + self.bias

    def flops(self, size: Size) -> int:
        """Of the activation unit's first layer, and one weighted sum of rows and outcomes."""
        pairs = size.queries * size.window
        pooled = 2 * pairs * (self.signals.other_rows.shape[1] + self.signals.values)
        return self.signals.flops() + self.inward.flops(pairs) + pooled
