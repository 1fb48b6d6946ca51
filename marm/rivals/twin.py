"""TWIN, Two-stage Interest Network (Chang et al. 2023, arXiv 2302.02352): one relevance for search and attention."""

import torch
from torch import Tensor, nn

from marm.config import RunConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.blocks import row_norm
from marm.rivals.attend import ReadLayer, pick
from marm.rivals.seen import Seen, Signals, gather_sum


class Twin(Reader):
    """alpha = (K_h W_h)(q W_q)^T / sqrt(dk) + (K_c W_c) beta: inherent features by projection, crossed ones by a scalar each.

    What crosses user and item here is the outcome, the time gap and the rank. The search goes by the mean over heads.
    """

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        self.window, self.rival = run.memory.window, run.rival
        model = run.model
        self.signals = Signals(model, outcomes)
        self.layer = ReadLayer(model, self.signals)
        self.squeeze = nn.Parameter(torch.randn(3, model.width) / model.width**0.5)
        self.beta = nn.Parameter(torch.ones(model.heads, 3))
        self.made, self.heard = 1, self.layer.heard

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One vector, and how much weight each head put on which outcome."""
        raw_UD, query = row_norm(item_UD), torch.from_numpy(batch.item_of_query).to(item_UD.device)
        seen = self.signals.see(batch, self.window)
        ask_QHD = self.layer.attention.folded(raw_UD[query])
        if seen.real.shape[1] > self.rival.picked:
            seen = self.searched(raw_UD.detach(), ask_QHD.detach(), seen)
        items_QND = gather_sum(raw_UD, seen.item[None], seen.real)
        rows_QND = self.signals.rows(raw_UD, seen)
        bias_QHN = self.bias(self.beta, seen)
        added_QD, heard = self.layer.after(item_UD[query], ask_QHD, items_QND, rows_QND, seen, self.signals, bias_QHN)
        return Made([added_QD], [], [heard])

    def searched(self, raw_UD: Tensor, ask_QHD: Tensor, seen: Seen) -> Seen:
        """The rows of highest alpha; no gradient goes through the choice."""
        with torch.no_grad():
            items_QND = gather_sum(raw_UD, seen.item[None], seen.real)
            score = torch.bmm(ask_QHD.mean(1, keepdim=True), items_QND.mT)
            score = score + self.bias(self.beta.mean(0, keepdim=True), seen)
        return pick(score[:, 0], seen, self.rival.picked, self.rival.newest)

    def bias(self, beta_H3: Tensor, seen: Seen) -> Tensor:
        """(K_c W_c) beta: (Q, H, N)."""
        sizes = torch.tensor([self.signals.outcomes, *[len(self.signals.other_rows) // 2] * 2], device=beta_H3.device)
        squeezed_C = (self.signals.table() * self.squeeze.repeat_interleave(sizes, 0)).sum(1)
        told_CH = squeezed_C[:, None] * beta_H3.T.repeat_interleave(sizes, 0)
        return gather_sum(told_CH, seen.codes, seen.real).mT

    def flops(self, size: Size) -> int:
        """One product with every row, where there are more than are picked; then attention over these."""
        width, rows = self.squeeze.shape[1], min(size.window, self.rival.picked)
        search = 2 * size.queries * width * size.window if size.window > self.rival.picked else 0
        tables = self.signals.flops() * (2 + (search > 0))
        return tables + search + self.layer.flops(size.queries, rows, self.signals.values)
