"""SASRec, Self-Attentive Sequential Recommendation (Kang and McAuley 2018, arXiv 1808.09781), as a reader."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import ModelConfig, RunConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.blocks import Linear, row_norm
from marm.rivals.seen import Signals


class Block(nn.Module):
    """x + SA(LN(x)), then x + FFN(LN(x)) with FFN(x) = ReLU(x W1 + b1) W2 + b2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        inner = round(width * config.ffn)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.project, self.out = Linear(width, 3 * width), Linear(width, width)
        self.inward, self.outward = Linear(width, inner), Linear(inner, width)

    def forward(self, x_QND: Tensor) -> Tensor:
        """(Q, N, D), position i reading those up to itself."""
        flat = x_QND.flatten(0, 1)
        flat = flat + self.out(self.attend(self.norms[0](flat), x_QND.shape))
        hidden = functional.relu(self.inward(self.norms[1](flat)))
        made: Tensor = flat + self.outward(hidden)
        return made.view_as(x_QND)

    def attend(self, flat: Tensor, shape: torch.Size) -> Tensor:
        """Causal self-attention of every sequence: (Q x N, D)."""
        queries, length, width = shape
        three = self.project(flat).view(queries, length, 3, self.heads, width // self.heads)
        q, k, v = three.permute(2, 0, 3, 1, 4)
        made = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return made.transpose(1, 2).reshape(-1, width)

    def flops(self, queries: int, length: int) -> int:
        """Of projections and of all pairs, those that the mask hides included."""
        linear = (self.project, self.out, self.inward, self.outward)
        pairs = 4 * queries * length * length * self.out.weight.shape[0]
        return pairs + sum(layer.flops(queries * length) for layer in linear)


class SasRec(Reader):
    """L blocks over a null row and the window's rows, recomputed for each target; the newest position's output is read.

    Blind to the target: they meet in the tower, which gets their product.
    """

    def __init__(self, run: RunConfig, outcomes: Tensor) -> None:
        super().__init__(run.memory.codec)
        self.window = run.memory.window
        self.signals = Signals(run.model, outcomes)
        self.null = nn.Parameter(torch.randn(run.model.width) * 0.1)
        self.blocks = nn.ModuleList(Block(run.model) for _ in range(run.model.layers))
        self.norm = nn.LayerNorm(run.model.width)
        self.made, self.heard = 1, 0

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """One vector."""
        seen = self.signals.see(batch, self.window)
        rows_QND = self.signals.rows(row_norm(item_UD), seen)
        x_QND = torch.cat([self.null.expand(len(rows_QND), 1, -1), rows_QND], 1)
        for block in self.blocks:
            x_QND = block(x_QND)
        newest = seen.real.sum(1)
        at = newest[:, None, None].expand(-1, 1, x_QND.shape[2])
        return Made([self.norm(x_QND.gather(1, at)[:, 0])], [], [])

    def flops(self, size: Size) -> int:
        """Of every block over every window."""
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        return self.signals.flops() + sum(block.flops(size.queries, size.window + 1) for block in blocks)
