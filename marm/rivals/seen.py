"""What each query sees, padded to one length: rows of history and what is known of each when it is read."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import ModelConfig
from marm.model.inputs import Pass
from marm.nn.dense import is_steady
from marm.nn.operands import Operands, code_spans
from marm.nn.views import GAPS, RANKS
from marm.types import I64


@dataclass(frozen=True)
class Seen:
    """Rows that each query sees, oldest first, padding after: (Q, N)."""

    item: Tensor
    """(Q, N) place among the pass's distinct items."""
    codes: Tensor
    """(3, Q, N) outcome as the query may know it, time gap, rank: places in one table of learned rows."""
    real: Tensor
    """(Q, N) false where there is none."""

    def pick(self, at_QK: Tensor, allowed_QK: Tensor) -> "Seen":
        """The rows at these places, where allowed."""
        codes = self.codes.gather(2, at_QK.expand(3, *at_QK.shape))
        return Seen(self.item.gather(1, at_QK), codes, self.real.gather(1, at_QK) & allowed_QK)


def see(batch: Pass, outcomes: int, window: int, device: torch.device) -> Seen:
    """Write out the views of a pass with ``outcomes`` codes.

    Where bits must not hang on what else is asked, every query is padded to the whole window.
    """
    v = batch.views
    longest = window if is_steady() else max(v.longest, 1)
    at = v.begin[:, None] + np.arange(longest)
    real = at < v.end[:, None]
    item = np.zeros(at.shape, np.int64)
    item[real] = batch.item_of_row[at[real]]
    codes = np.zeros((3, *at.shape), np.int64)
    codes[:, real] = pair_codes(batch, outcomes)
    return Seen(*(torch.from_numpy(x).to(device) for x in (item, codes, real)))


def pair_codes(batch: Pass, outcomes: int) -> list[I64]:
    """Outcome, gap and rank of every pair of a query and a row it sees (P,), as places in one table."""
    none = np.zeros((0, len(batch.item_of_row)), np.int64)
    return Operands(batch.work, batch.block, 0, batch.state_of_row, none, code_spans(outcomes, False)).pair_codes()


class Signals(nn.Module):
    """Learned rows of outcome, time gap and rank: what a row of history brings beside its item, as in MARM's layers."""

    def __init__(self, config: ModelConfig, outcomes: Tensor) -> None:
        """``outcomes`` (codes, F): which of F learned rows each outcome code is the sum of."""
        super().__init__()
        self.outcomes, self.values = outcomes.shape
        self.parts: Tensor
        self.kept: Tensor
        self.register_buffer("parts", outcomes, persistent=False)
        self.outcome_rows = nn.Parameter(torch.randn(self.values, config.width) * 0.3)
        self.other_rows = nn.Parameter(torch.randn(GAPS + RANKS, config.width) * 0.1)
        sizes = torch.tensor([self.outcomes, GAPS, RANKS])
        shown = torch.tensor([float(on) for on in (config.outcomes, config.time_gap, config.rank)])
        self.register_buffer("kept", shown.repeat_interleave(sizes)[:, None], persistent=False)

    def table(self) -> Tensor:
        """The row of each code: outcomes, gaps, ranks (C, D); zero for what is switched off."""
        return torch.cat([self.parts @ self.outcome_rows, self.other_rows]) * self.kept

    def see(self, batch: Pass, window: int) -> Seen:
        """What each query sees."""
        return see(batch, self.outcomes, window, self.parts.device)

    def rows(self, raw_UD: Tensor, seen: Seen) -> Tensor:
        """x_kj = u_j + A[outcome] + G[gap] + R[rank], zero where there is no row: (Q, N, D)."""
        table = torch.cat([raw_UD, self.table()])
        return gather_sum(table, torch.cat([seen.item[None], seen.codes + len(raw_UD)]), seen.real)

    def said(self, seen: Seen) -> Tensor:
        """Which outcome rows each row of history has, zero where there is none: (Q, N, F)."""
        return self.parts[seen.codes[0]] * seen.real[:, :, None]

    def heard(self, weight_QHN: Tensor, seen: Seen, null_QH: Tensor) -> Tensor:
        """Weight on each outcome row, and beside it what no row got: (Q, H x (F + 1))."""
        known = torch.bmm(weight_QHN, self.said(seen))
        return torch.cat([known, null_QH[:, :, None]], 2).flatten(1)

    def flops(self) -> int:
        """Of making the table."""
        return 2 * self.parts.numel() * self.outcome_rows.shape[1]


def gather_sum(table_CD: Tensor, at_KQN: Tensor, real_QN: Tensor) -> Tensor:
    """The sum of K rows of a table for each place, zero where it is not real: (Q, N, D)."""
    zero = len(table_CD)
    at = torch.where(real_QN, at_KQN, zero).flatten(1).T.contiguous()
    summed = functional.embedding_bag(at, functional.pad(table_CD, (0, 0, 0, 1)), mode="sum")
    return summed.view(*real_QN.shape, table_CD.shape[1])
