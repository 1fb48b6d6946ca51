"""SIM, Search-based Interest Model (Pi et al. 2020, arXiv 2006.05639): a general search unit, then exact attention."""

import math

import numba as nb
import numpy as np
import torch
from torch import Tensor, nn

from marm.config import RunConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.blocks import row_norm
from marm.nn.dense import dense
from marm.rivals.attend import ReadLayer, pick
from marm.rivals.seen import Seen, Signals, gather_sum
from marm.types import I64, U64, Bool


class SimHard(Reader):
    """Rows of the target's own category, the newest first; then attention with time gaps."""

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        assert run.searched_by is not None
        self.window, self.rival, self.feature = run.memory.window, run.rival, run.searched_by
        self.signals = Signals(run.model, outcomes)
        self.layer = ReadLayer(run.model, self.signals)
        self.made, self.heard = 1, self.layer.heard

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One vector, and how much weight each head put on which outcome."""
        seen = self.signals.see(batch, self.window)
        score_QN = torch.where(self.same(batch, seen), 0.0, float("-inf"))
        seen = pick(score_QN, seen, self.rival.picked, self.rival.newest)
        target_QD = item_UD[torch.from_numpy(batch.item_of_query).to(item_UD.device)]
        rows_QND = self.signals.rows(row_norm(item_UD), seen)
        added_QD, heard = self.layer(target_QD, rows_QND, seen, self.signals)
        return Made([added_QD], [], [heard])

    def same(self, batch: Pass, seen: Seen) -> Tensor:
        """r_j = 1[category of j = category of the target]; with tags, whether they share one: (Q, N)."""
        bag = batch.items.named[self.feature]
        found = np.zeros(seen.real.shape, np.bool_)
        found[seen.real.cpu().numpy()] = shared_keys(
            bag.keys, bag.offsets, batch.item_of_query, batch.item_of_row, batch.views.begin, batch.views.end
        )
        return torch.from_numpy(found).to(seen.real.device)

    def flops(self, size: Size) -> int:
        """Attention over what was picked; the search multiplies nothing."""
        rows = min(size.window, self.rival.picked)
        return self.signals.flops() + self.layer.flops(size.queries, rows, self.signals.values)


class SimSoft(Reader):
    """Rows by r_j = (W_b e_j) . (W_a e_y); then attention with time gaps.

    The search learns through U = sum_j r_j e_j, which goes to the tower; the paper gives it a loss of its own.
    """

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        self.window, self.rival, width = run.memory.window, run.rival, run.model.width
        self.signals = Signals(run.model, outcomes)
        self.layer = ReadLayer(run.model, self.signals)
        self.ask, self.answer = (nn.Parameter(torch.randn(width, width) / math.sqrt(width)) for _ in range(2))
        self.made, self.heard = 2, self.layer.heard

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """Two vectors: what attention made, and the search's own sum."""
        raw_UD, query = row_norm(item_UD), torch.from_numpy(batch.item_of_query).to(item_UD.device)
        seen = self.signals.see(batch, self.window)
        items_QND = gather_sum(raw_UD, seen.item[None], seen.real)
        score_QN = self.relevance(raw_UD[query], items_QND)
        summed_QD = torch.bmm(score_QN[:, None], items_QND)[:, 0]
        picked = pick(score_QN.detach(), seen, self.rival.picked, self.rival.newest)
        rows_QND = self.signals.rows(raw_UD, picked)
        added_QD, heard = self.layer(item_UD[query], rows_QND, picked, self.signals)
        return Made([added_QD, summed_QD], [], [heard])

    def relevance(self, target_QD: Tensor, items_QND: Tensor) -> Tensor:
        """r: (Q, N)."""
        ask_QD = dense(target_QD, self.ask @ self.answer.T)
        return torch.bmm(items_QND, ask_QD[:, :, None])[:, :, 0]

    def flops(self, size: Size) -> int:
        """Two products with every row, then attention over what was picked."""
        width, rows = len(self.ask), min(size.window, self.rival.picked)
        search = 2 * (width**3 + size.queries * width * (width + 2 * size.window))
        return self.signals.flops() + search + self.layer.flops(size.queries, rows, self.signals.values)


@nb.njit(cache=True, nogil=True)
def shared_keys(keys: U64, offsets: I64, of_query: I64, of_row: I64, begin: I64, end: I64) -> Bool:
    """Whether the items of a query and of a row it sees have a key in common, for every pair (P,); key 0 is nothing."""
    out = np.zeros((end - begin).sum(), np.bool_)
    p = 0
    for k in range(len(begin)):
        q = of_query[k]
        for j in range(begin[k], end[k]):
            r = of_row[j]
            for a in range(offsets[q], offsets[q + 1]):
                for b in range(offsets[r], offsets[r + 1]):
                    out[p] |= keys[a] == keys[b] and keys[a] != 0
            p += 1
    return out
