"""How fast a user goes: the time since the newest events that a target sees, as codes with learned rows."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.nn.views import GAPS, Views, gap_edges
from marm.types import I64

PLACES = np.array([1, 2, 4, 8, 16])
"""Which of the newest events: 1 is the last."""


class Pace(nn.Module):
    """A vector for the tower and a bias for each task, summed over the places.

    Attention finds the time since the last event only slowly, since gap and rank reach its weights as a sum.
    """

    def __init__(self, width: int, tasks: int) -> None:
        super().__init__()
        codes = len(PLACES) * (GAPS + 1)
        self.rows = nn.Parameter(torch.cat([torch.randn(codes, width) * 0.3, torch.zeros(codes, tasks)], 1))
        self.width = width

    def forward(self, views: Views) -> tuple[Tensor, Tensor]:
        """(Q, D) and (Q, T)."""
        codes = torch.from_numpy(pace_codes(views)).to(self.rows.device)
        made = functional.embedding_bag(codes, self.rows, mode="sum")
        return made[:, : self.width], made[:, self.width :]


def pace_codes(views: Views) -> I64:
    """Gap bucket at each place; the last of a place is for queries that see fewer events: (Q, places)."""
    at = views.end[:, None] - PLACES
    seen = at >= views.begin[:, None]
    time = views.time[np.where(seen, at, 0)] if len(views.time) else np.zeros(at.shape, np.int64)
    bucket = np.searchsorted(gap_edges(), views.asked[:, None] - time, side="right")
    codes: I64 = np.where(seen, bucket, GAPS) + np.arange(len(PLACES)) * (GAPS + 1)
    return codes
