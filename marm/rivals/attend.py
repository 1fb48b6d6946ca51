"""Target attention over padded rows, and the search that picks which rows it is over."""

import math

import torch
from torch import Tensor, nn

from marm.config import ModelConfig
from marm.nn.blocks import feed_forward, row_norm, similar_heads
from marm.nn.dense import dense
from marm.rivals.seen import Seen, Signals


class Attention(nn.Module):
    """softmax(q Wq (K Wk)^T / sqrt(dk) + bias) V Wv Wo over the rows and a learned null row (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.query, self.key, self.value, self.out = (nn.Parameter(part) for part in similar_heads(width, heads))
        self.null = nn.Parameter(torch.randn(width) * 0.1)

    def folded(self, target_QD: Tensor) -> Tensor:
        """The target as each head asks, on the rows' side of the key projection: (Q, H, D)."""
        fold = torch.einsum("hkd,hke->dhe", self.query, self.key).reshape(self.width, -1)
        return dense(target_QD, fold / math.sqrt(self.width // self.heads)).view(-1, self.heads, self.width)

    def forward(
        self, ask_QHD: Tensor, key_QND: Tensor, value_QND: Tensor, real_QN: Tensor, bias_QHN: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the rows say (Q, D), weights of the rows (Q, H, N) and of the null row (Q, H)."""
        logit = torch.bmm(ask_QHD, key_QND.mT)
        logit = logit if bias_QHN is None else logit + bias_QHN
        null = (ask_QHD * self.null).sum(2, keepdim=True)
        weight = torch.cat([logit.masked_fill(~real_QN[:, None], float("-inf")), null], 2).softmax(2)
        rows, alone = weight[:, :, :-1], weight[:, :, -1:]
        context_QHD = torch.bmm(rows, value_QND) + alone * self.null
        unfold = torch.einsum("hkd,hke->hde", self.value, self.out).reshape(-1, self.width)
        return dense(context_QHD.flatten(1), unfold), rows, alone[:, :, 0]

    def flops(self, queries: int, rows: int) -> int:
        """Of folding, unfolding, and meeting each row twice; what codes add is counted where it is made."""
        d, h = self.width, self.heads
        return 2 * (2 * d**3 + queries * h * (2 * d * d + 2 * rows * d))


class ReadLayer(nn.Module):
    """One layer over picked rows as MARM's are: norm before, residual around, feed-forward after."""

    def __init__(self, config: ModelConfig, signals: Signals) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.feed_forward = feed_forward(config.width, config.ffn)
        self.heard = config.heads * (signals.values + 1)

    def forward(self, state_QD: Tensor, rows_QND: Tensor, seen: Seen, signals: Signals) -> tuple[Tensor, Tensor]:
        """What reading the rows adds to the target (Q, D), and what was heard of outcomes."""
        return self.after(state_QD, self.attention.folded(row_norm(state_QD)), rows_QND, rows_QND, seen, signals)

    def after(
        self,
        state_QD: Tensor,
        ask_QHD: Tensor,
        key_QND: Tensor,
        value_QND: Tensor,
        seen: Seen,
        signals: Signals,
        bias_QHN: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same with keys of their own and a bias for each pair."""
        read_QD, weight, null = self.attention(ask_QHD, key_QND, value_QND, seen.real, bias_QHN)
        added_QD = read_QD + self.feed_forward(row_norm(state_QD + read_QD))
        return added_QD, signals.heard(weight, seen, null)

    def flops(self, queries: int, rows: int, values: int) -> int:
        """Of attention, of what was heard, and of feed-forward."""
        heard = 2 * queries * self.attention.heads * rows * values
        return self.attention.flops(queries, rows) + heard + self.feed_forward.flops(queries)


def pick(score_QN: Tensor, seen: Seen, count: int, newest: int) -> Seen:
    """The ``count`` rows of highest score, the ``newest`` always among them, equal ones by newest; oldest first.

    A score of minus infinity is never picked.
    """
    places = torch.arange(seen.real.shape[1], device=score_QN.device)
    last = seen.real.sum(1, keepdim=True) - newest
    score = torch.where(places >= last, float("inf"), score_QN).masked_fill(~seen.real, float("-inf"))
    best = torch.sort(score.flip(1), dim=1, descending=True, stable=True).indices[:, :count]
    at = (len(places) - 1 - best).sort(1).values
    return seen.pick(at, score.gather(1, at) > float("-inf"))
