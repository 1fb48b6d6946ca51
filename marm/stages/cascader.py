"""The cascading model: one layer of target attention over ranking's newest states, and a small tower."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import CascadingConfig, ModelConfig
from marm.model.stack import Layer
from marm.nn.blocks import Heads, Linear, row_norm
from marm.nn.operands import Operands
from marm.types import I64


class Cascader(nn.Module):
    """Logits of all tasks for thousands of candidates; it writes nothing that anybody reads later."""

    def __init__(self, config: CascadingConfig, model: ModelConfig, outcomes: Tensor, tasks: int) -> None:
        super().__init__()
        width = model.width
        plain = model.model_copy(update={"token_shift": False, "raw_rows": False})
        self.item, self.user = Linear(width, width), Linear(width, width)
        self.layer = Layer(plain, outcomes, 0)
        inputs = 4 * width + model.heads * (outcomes.shape[1] + 1)
        self.inward, self.heads = Linear(inputs, config.tower), Heads(config.tower, tasks)

    def items(self, ranked_ND: Tensor, own: Tensor) -> "Sided":
        """Items as targets, and as rows of depth 0; they hang on the item alone. ``own`` (N, D + T)."""
        return self._sided(self.item, ranked_ND, own)

    def users(self, ranked_ND: Tensor, own: Tensor) -> "Sided":
        """Users as the tower sees them."""
        return self._sided(self.user, ranked_ND, own)

    def _sided(self, layer: Linear, ranked_ND: Tensor, own: Tensor) -> "Sided":
        vectors, bias = torch.split(own, [ranked_ND.shape[1], len(self.heads.bias)], 1)
        return Sided(row_norm(layer(row_norm(ranked_ND)) + vectors), bias)

    def forward(self, target: "Sided", user: "Sided", live: Tensor, raw_UD: Tensor, ops: Operands) -> Tensor:
        """Logits as ranking's: (Q, T)."""
        state_QD, heard = self.layer(target.row, live, raw_UD, ops)
        parts = [target.row, row_norm(state_QD), user.row, target.row * user.row, heard]
        hidden = functional.silu(self.inward(torch.cat(parts, 1)))
        mixed_QTN = hidden.unsqueeze(1).expand(-1, len(self.heads.bias), -1)
        logit_QT: Tensor = self.heads(mixed_QTN) + target.bias + user.bias
        return logit_QT


@dataclass(frozen=True)
class Sided:
    """Things on one side of a question: rows (N, D), normed, and their own biases (N, T)."""

    row: Tensor
    bias: Tensor

    def pick(self, at: I64) -> "Sided":
        """Those at these places."""
        where = torch.from_numpy(at).to(self.row.device)
        return Sided(self.row[where], self.bias[where])
