"""L layers of target attention; layer l reads what layer l-1 made of the history (the heart of MARM)."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from marm.config import ModelConfig
from marm.model.inputs import Pass
from marm.model.reader import Made, Reader, Size
from marm.nn.attention import TargetAttention
from marm.nn.blocks import Linear, feed_forward, row_norm
from marm.nn.operands import Operands
from marm.types import I64


class Layer(nn.Module):
    """Attention and feed-forward, each with norm before and residual around."""

    def __init__(self, config: ModelConfig, outcomes: Tensor, depth: int, ids: int = 0) -> None:
        super().__init__()
        raw = config.raw_rows and depth > 0 and config.memory_reads
        shape = config.width, config.heads
        self.attention = TargetAttention(*shape, outcomes, config.token_shift, raw, ids, depth)
        self.feed_forward = feed_forward(config.width, config.ffn)
        _silence(self.attention, config)

    def forward(self, state_QD: Tensor, live: Tensor, raw: Tensor, ops: Operands) -> tuple[Tensor, Tensor]:
        """What the layer makes of each target (Q, D), and what outcomes its heads heard of (Q, H x (F + 1))."""
        read_QD, heard = self.attention.read(row_norm(state_QD), live, raw, ops)
        state_QD = state_QD + read_QD
        return state_QD + self.feed_forward(row_norm(state_QD)), heard.flatten(1)

    def flops(self, size: Size) -> int:
        """Of its products of matrices."""
        return self.attention.flops(size.queries, size.window) + self.feed_forward.flops(size.queries)


def _silence(attention: TargetAttention, config: ModelConfig) -> None:
    """Switched-off signals keep their codes, at zero and unlearned, so that every setting runs the same code."""
    gaps, ranks, null = (int(span - attention.spans[0]) for span in attention.spans[:3])
    kept = torch.ones(len(attention.other_rows), 1)
    kept[gaps:ranks] = float(config.time_gap)
    kept[ranks:null] = float(config.rank)
    with torch.no_grad():
        attention.other_rows.mul_(kept)
        attention.fading.doublings[:, -len(kept) :].mul_(kept.T)
        if not config.outcomes:
            attention.outcome_rows.zero_()
    if not (config.time_gap and config.rank):
        attention.other_rows.register_hook(lambda grad: grad * kept.to(grad.device))  # type: ignore[no-untyped-call]
    if not config.outcomes:
        attention.outcome_rows.requires_grad_(False)
    attention.fading.requires_grad_(config.fade or bool(attention.equal.numel()))


class TargetAttentionStack(Reader):
    """All layers, and the learned fall-backs for rows whose state is not there."""

    def __init__(
        self,
        config: ModelConfig,
        outcomes: Tensor,
        codec: str,
        top: int = 0,
        ids: int = 0,
        worth: Tensor | None = None,
    ) -> None:
        """``top``: how many last layers stand side by side (one for each task), beside ``config.layers`` in a row.

        ``ids``: kinds of id that rows and targets may share; ``worth``: what a contrast begins with (F,).
        """
        super().__init__(codec)
        self.reads_memory = config.memory_reads
        self.live_gradient = config.live_gradient
        self.shift, self.raw = config.token_shift, config.raw_rows
        self.width = config.width
        row = config.layers - bool(top)
        self.made, self.heard, self.aside = row, row * config.heads * (outcomes.shape[1] + 1), top
        self.layers = nn.ModuleList(Layer(config, outcomes, depth, ids) for depth in range(row))
        self.top = nn.ModuleList(Layer(config, outcomes, row, ids) for _ in range(top))
        if config.contrast and worth is not None:
            for layer in self.layers[:1] or self.top:
                assert isinstance(layer, Layer)
                layer.attention.contrast(worth)
        self.fallbacks = nn.ModuleList(Linear(config.width, config.width) for _ in range(config.layers - 1))

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """What the layers make of a pass; rows are normed first."""
        raw_UD, target_QD = row_norm(item_UD), _targets(item_UD, batch)
        state_QD, made, heard = self._through(target_QD, raw_UD, batch, len(self.layers))
        aside = [
            layer(state_QD, *self._rows(layer, batch, len(self.layers), state_QD, raw_UD))[0] for layer in self.top
        ]
        return Made([state - target_QD for state in made], [state - target_QD for state in aside], heard, made)

    def states(self, item_UD: Tensor, batch: Pass, depths: int) -> list[Tensor]:
        """No layer above them is asked."""
        return self._through(_targets(item_UD, batch), row_norm(item_UD), batch, depths)[1]

    def _through(
        self, state_QD: Tensor, raw_UD: Tensor, batch: Pass, depths: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The last state, those of the first ``depths`` layers in a row, and what each heard."""
        made, heard = [], []
        for depth, layer in enumerate(self.layers[:depths]):
            state_QD, outcomes = layer(state_QD, *self._rows(layer, batch, depth, state_QD, raw_UD))
            made.append(state_QD)
            heard.append(outcomes)
        return state_QD, made, heard

    @contextmanager
    def watched(self, queries: I64) -> Iterator[list[Tensor]]:
        """While open, notes how each layer of a pass weighs what these queries see: (Q, H, N + 1) as ``heed`` has it."""
        noted: list[Tensor] = []

        def note(layer: nn.Module, args: tuple[Tensor, Tensor, Tensor, Operands]) -> None:
            state_QD, live, raw, ops = args
            assert isinstance(layer, Layer)
            asked_QD = row_norm(state_QD[torch.from_numpy(queries).to(state_QD.device)])
            noted.append(layer.attention.heed(asked_QD, live, raw, ops.of(queries)))

        hooks = [layer.register_forward_pre_hook(note) for layer in [*self.layers, *self.top]]
        try:
            yield noted
        finally:
            for hook in hooks:
                hook.remove()

    def column(self, depth: int) -> int:
        """First column in a block of the states of ``depth``, 1 or more."""
        return (depth - 1) * self.codec.columns(self.width)

    def _rows(
        self, layer: nn.Module, batch: Pass, depth: int, state_QD: Tensor, raw_UD: Tensor
    ) -> tuple[Tensor, Tensor, Operands]:
        """What the layer at ``depth`` reads: live rows, embeddings of items, and where all rows lie."""
        assert isinstance(layer, Layer)
        deep = depth > 0 and self.reads_memory
        if batch.search:
            with torch.no_grad():
                query_QD = layer.attention.sought(row_norm(state_QD))
            picked = batch.search.pick(depth * deep, query_QD)
            batch, raw_UD = picked.passed, torch.cat([raw_UD, row_norm(picked.item_VD)])
        beside = [np.where(batch.views.previous < 0, -1, batch.item_of_row[batch.views.previous])] * self.shift
        beside += [batch.item_of_row] * (self.raw and deep)
        sides = np.stack(beside) if beside else np.zeros((0, len(batch.item_of_row)), np.int64)
        if not deep:
            live, at, column = raw_UD, -1 - batch.item_of_row, 0
        else:
            live, at = self._live(batch, depth, state_QD, raw_UD)
            column = self.column(depth)
        return live, raw_UD, Operands(batch.work, batch.block, column, at, sides, layer.attention.spans)

    def _live(self, batch: Pass, depth: int, state_QD: Tensor, raw_UD: Tensor) -> tuple[Tensor, I64]:
        if (batch.state_of_row >= 0).all():
            return state_QD[:0], batch.state_of_row
        live, missing = self.coded(state_QD), batch.state_of_row == Pass.MISSING
        live = live if self.live_gradient else live.detach()
        if not missing.any():
            return live, batch.state_of_row
        live = torch.cat([live, row_norm(self.fallbacks[depth - 1](raw_UD))])
        return live, np.where(missing, -1 - len(state_QD) - batch.item_of_row, batch.state_of_row)

    def flops(self, size: Size) -> int:
        """Every layer folds its projections once, then meets each row of a view once for each head and stream."""
        layers = [layer for layer in [*self.layers, *self.top] if isinstance(layer, Layer)]
        return sum(layer.flops(size) for layer in layers)


def _targets(item_UD: Tensor, batch: Pass) -> Tensor:
    """Embeddings of the queries' items (Q, D)."""
    return item_UD[torch.from_numpy(batch.item_of_query).to(item_UD.device)]
