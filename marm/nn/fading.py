"""How the rows of a history fade in each head, by powers of age and rank: few numbers, learned fast."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.nn.operands import Operands
from marm.nn.views import GAPS, RANKS

PACE = 4.0
"""How much faster these are learned than all else: Adam moves all numbers alike, and these must move far."""
IDLE = 2.0
"""Most that the null row gains or loses as the newest row ages. Unbounded, a head shuts a history off before it can read it."""


class Fading(nn.Module):
    """What age and rank take from logits, whatever the target."""

    def __init__(self, by_rank_H: Tensor, outcomes: int) -> None:
        """``by_rank_H``: what each doubling of rank takes away at first; ``outcomes``: codes before those of gaps."""
        super().__init__()
        self.outcomes = outcomes
        # A row by its age, by its rank; the null row by the age of the newest.
        self.power = nn.Parameter(functional.pad(by_rank_H[:, None] / PACE, (1, 1)))
        self.doublings: Tensor
        self.register_buffer("doublings", functional.pad(doublings(), (outcomes, 1)), persistent=False)

    def of_codes(self) -> Tensor:
        """From rows with each code: (H, C)."""
        return PACE * self.power[:, :2] @ self.doublings

    def of_nothing(self, ops: Operands) -> Tensor:
        """From the null row, by the age of the newest row that each query sees: (Q, H).

        As much as from that row, so that a history which ended long ago is read like any other; and within a bound what
        the head has learned, so that less of it is read, or more.
        """
        gap = torch.from_numpy(ops.work.newest_gap).to(self.power.device)
        old_Q1 = PACE * self.doublings[0, self.outcomes + gap, None]
        return old_Q1 * self.power[:, 0] + IDLE * torch.tanh(old_Q1 * self.power[:, 2] / IDLE)


def doublings() -> Tensor:
    """What each gap and each rank is to how rows fade, half the doublings of a gap and those of a rank: (2, GAPS + RANKS)."""
    bucket = torch.arange(RANKS, dtype=torch.float32)
    rank = torch.where(bucket < 8, torch.log2(bucket + 1), 3 + (bucket - 7.5) / 4)
    gap = torch.arange(GAPS, dtype=torch.float32) / 2
    return torch.stack([functional.pad(gap, (0, RANKS)), functional.pad(rank, (GAPS, 0))])
