"""ETA, Efficient long-sequential Target Attention (Chen et al. 2021, arXiv 2108.04468): search by SimHash."""

import torch
from torch import Tensor

from marm.config import RunConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.blocks import row_norm
from marm.nn.dense import dense
from marm.rivals.attend import ReadLayer, pick
from marm.rivals.seen import Seen, Signals


class Eta(Reader):
    """The rows whose signature sign(R e) is nearest to the target's by Hamming distance; then attention over them."""

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        self.window, self.rival = run.memory.window, run.rival
        self.signals = Signals(run.model, outcomes)
        self.layer = ReadLayer(run.model, self.signals)
        self.planes: Tensor
        self.register_buffer("planes", torch.randn(run.model.width, run.rival.bits))
        self.made, self.heard = 1, self.layer.heard

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One vector, and how much weight each head put on which outcome."""
        query = torch.from_numpy(batch.item_of_query).to(item_UD.device)
        seen = self.signals.see(batch, self.window)
        score_QN = -self.distance(item_UD.detach(), query, seen)
        seen = pick(score_QN, seen, self.rival.picked, self.rival.newest)
        rows_QND = self.signals.rows(row_norm(item_UD), seen)
        added_QD, heard = self.layer(item_UD[query], rows_QND, seen, self.signals)
        return Made([added_QD], [], [heard])

    def distance(self, item_UD: Tensor, query: Tensor, seen: Seen) -> Tensor:
        """Bits in which the signatures of target and row differ: (Q, N)."""
        sign_UM = torch.where(dense(item_UD, self.planes) > 0, 1.0, -1.0)
        alike = torch.bmm(sign_UM[seen.item], sign_UM[query][:, :, None])[:, :, 0]
        return (self.planes.shape[1] - alike) / 2

    def flops(self, size: Size) -> int:
        """Signatures of the items, their products, then attention over what was picked."""
        width, bits = self.planes.shape
        search = 2 * bits * (size.items * width + size.queries * size.window)
        rows = min(size.window, self.rival.picked)
        return self.signals.flops() + search + self.layer.flops(size.queries, rows, self.signals.values)
