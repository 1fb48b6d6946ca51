"""Mean pooling: what a user saw, whatever the target (the base model of the DIN paper, Zhou et al. 2018)."""

import torch
from torch import Tensor

from marm.config import RunConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.blocks import row_norm
from marm.rivals.seen import Signals


class MeanPooling(Reader):
    """v = 1/n sum_j x_kj."""

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        self.window = run.memory.window
        self.signals = Signals(run.model, outcomes)
        self.made, self.heard = 1, self.signals.values + 1

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One vector, and the share of each outcome."""
        seen = self.signals.see(batch, self.window)
        rows_QND = self.signals.rows(row_norm(item_UD), seen)
        count = seen.real.sum(1, keepdim=True)
        weight_QHN = (seen.real / count.clamp(min=1))[:, None]
        heard = self.signals.heard(weight_QHN, seen, (count == 0).float())
        return Made([torch.bmm(weight_QHN, rows_QND)[:, 0]], [], [heard])

    def flops(self, size: Size) -> int:
        """Of one weighted sum of rows and outcomes."""
        pooled = 2 * size.queries * size.window * (self.signals.other_rows.shape[1] + self.signals.values)
        return self.signals.flops() + pooled
