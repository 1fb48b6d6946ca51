"""The cascading model: one layer of target attention over ranking's newest states, and a small tower."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import CascadingConfig, ModelConfig
from marm.model.stack import Layer
from marm.nn.blocks import Heads, Linear, row_norm
from marm.nn.operands import Operands


class Cascader(nn.Module):
    """Logits of all tasks for thousands of candidates; it writes nothing that anybody reads later."""

    def __init__(self, config: CascadingConfig, model: ModelConfig, outcomes: Tensor, tasks: int) -> None:
        super().__init__()
        width = model.width
        plain = model.model_copy(update={"token_shift": False, "raw_rows": False})
        self.item, self.user = Linear(width, width), Linear(width, width)
        self.layer = Layer(plain, outcomes, False)
        inputs = 4 * width + model.heads * (outcomes.shape[1] + 1)
        self.inward, self.heads = Linear(inputs, config.tower), Heads(config.tower, tasks)

    def item_rows(self, ranked_ND: Tensor, own_ND: Tensor) -> Tensor:
        """Items as targets, and as rows of depth 0: (N, D), normed. They hang on the item alone."""
        return row_norm(self.item(row_norm(ranked_ND)) + own_ND)

    def user_rows(self, ranked_ND: Tensor, own_ND: Tensor) -> Tensor:
        """Users as the tower sees them: (N, D), normed."""
        return row_norm(self.user(row_norm(ranked_ND)) + own_ND)

    def forward(self, target_QD: Tensor, user_QD: Tensor, live: Tensor, raw_UD: Tensor, ops: Operands) -> Tensor:
        """Logits as ranking's: (Q, T)."""
        state_QD, heard = self.layer(target_QD, live, raw_UD, ops)
        made = row_norm(state_QD)
        hidden = functional.silu(self.inward(torch.cat([target_QD, made, user_QD, target_QD * user_QD, heard], 1)))
        logit_QT: Tensor = self.heads(hidden.unsqueeze(1).expand(-1, len(self.heads.bias), -1))
        return logit_QT
