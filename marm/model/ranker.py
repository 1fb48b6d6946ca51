"""The ranking model: embeddings, the attention stack, and a multi-task tower over all that its layers made."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import ModelConfig, TaskConfig, remembered_depths
from marm.model.features import DenseFeatures
from marm.model.inputs import Pass
from marm.model.outcomes import OutcomeCodes
from marm.model.pace import Pace
from marm.model.reader import Reader, Size
from marm.model.stack import TargetAttentionStack
from marm.nn.blocks import Experts, Heads, row_norm
from marm.nn.dense import dense, fill

ARITHMETIC = 4
"""Raised whenever weights of the same names and shapes come to mean other scores: no release scores with another's."""

LOUD = 3.0
"""Factor of the shortest way from outcomes of similar rows to a logit: it is learned faster than all else."""


@dataclass(frozen=True)
class Output:
    """What a pass made of its queries."""

    logit_QT: Tensor
    """Binary: log odds. Regression: sign(y) log(1 + |y|)."""
    state_QKD: Tensor
    """Coded states of the depths that are remembered."""
    item_UD: Tensor
    """Embeddings of the pass's distinct items, their dense features included."""
    user_BD: Tensor


class Ranker(nn.Module):
    """MARM's ranking model (paper, overall architecture): depth l attends to remembered depth l - 1."""

    def __init__(
        self,
        config: ModelConfig,
        tasks: dict[str, TaskConfig],
        codec: str = "float16",
        dense_widths: dict[str, dict[str, int]] | None = None,
        store_top: bool = False,
        reader: Callable[[], Reader] | None = None,
    ) -> None:
        """``dense_widths``: columns of each dense feature, by scope (item, user, context).

        ``reader`` makes what reads histories, where it is not MARM's layers.
        """
        super().__init__()
        widths = dense_widths or {}
        self.config, self.tasks = config, tasks
        self.dense = nn.ModuleDict(
            {s: DenseFeatures(widths.get(s, {}), config.width) for s in ("item", "user", "context")}
        )
        self.stack = reader() if reader else marm_layers(config, tasks, codec)
        self.remembered = remembered_depths(config, store_top)
        self._first = 0 if config.all_states else max(self.stack.made - 1, 0)
        read = self.stack.made - self._first
        inputs = config.width * (4 + 2 * read + has_pace(config)) + self.stack.heard
        self.pace = Pace(config.width, len(tasks)) if has_pace(config) else None
        self.experts = Experts(inputs, config.tower, config.experts, len(tasks))
        self.heads = Heads(config.tower + (config.width if self.stack.aside else 0), len(tasks))
        self.hear = nn.Parameter(torch.zeros(self.stack.heard, len(tasks)))
        self.loud_P1: Tensor
        self.register_buffer("loud_P1", torch.tensor([1.0, *loudness(read), 1.0, 1.0])[:, None], persistent=False)
        self._binary: Tensor
        self._weight: Tensor
        self.register_buffer("_binary", torch.tensor([t.kind == "binary" for t in tasks.values()]), persistent=False)
        self.register_buffer("_weight", torch.tensor([t.weight for t in tasks.values()]), persistent=False)

    def forward(self, embedded: Tensor, batch: Pass) -> Output:
        """Score a pass; ``embedded`` (U + B + X, D + T): embeddings of its items, users and contexts, then their biases."""
        vectors, biases = torch.split(embedded, [self.config.width, len(self.tasks)], 1)
        item_UD, user_BD, context_XD = self._with_dense(vectors, batch)
        device = embedded.device
        item, segment, context = (
            torch.from_numpy(at).to(device)
            for at in (batch.item_of_query, batch.segment_of_query, batch.context_of_query)
        )
        made = self.stack(item_UD, batch)
        of_item, of_user, of_context = torch.split(biases, self._counts(batch))
        logit_QT = of_item[item] + of_user[segment] + of_context[context]
        told = made.told[self._first :]
        parts_QPD = row_norm(torch.stack([item_UD[item], *told, user_BD[segment], context_XD[context]], 1))
        if len(told) > 1:
            parts_QPD = parts_QPD * self.loud_P1
        # What the target has in common with its history and its user, which a perceptron finds only slowly.
        crossed_QPD = parts_QPD[:, :1] * parts_QPD[:, 1:-1]
        inputs = [parts_QPD.flatten(1), crossed_QPD.flatten(1), *made.heard]
        if self.pace:
            pace_QD, bias_QT = self.pace(batch.views)
            inputs, logit_QT = [*inputs, pace_QD], logit_QT + bias_QT
        if made.heard:
            loud = [LOUD * by for by in loudness(len(made.heard))]
            said = torch.cat([part * by for part, by in zip(made.heard, loud, strict=True)], 1)
            logit_QT = logit_QT + dense(said, self.hear)
        mixed_QTN = self.experts(torch.cat(inputs, 1))
        if made.aside:
            mixed_QTN = torch.cat([mixed_QTN, torch.stack([row_norm(a) for a in made.aside], 1)], 2)
        return Output(logit_QT + self.heads(mixed_QTN), self._kept(made.states, len(item), item_UD), item_UD, user_BD)

    def states(self, item_UD: Tensor, batch: Pass) -> Tensor:
        """Coded states of a pass (Q, K, D), as ``forward`` has them, without scoring a task."""
        return self._kept(self.stack.states(item_UD, batch, self.remembered), len(batch.item_of_query), item_UD)

    def _kept(self, states: list[Tensor], queries: int, like: Tensor) -> Tensor:
        kept = [self.stack.coded(state) for state in states[: self.remembered]]
        return torch.stack(kept, 1) if kept else like.new_zeros(queries, 0, self.config.width)

    @property
    def layers(self) -> TargetAttentionStack:
        """MARM's own layers, which other stages read with; a rival has none."""
        assert isinstance(self.stack, TargetAttentionStack)
        return self.stack

    def _counts(self, batch: Pass) -> list[int]:
        return [batch.items.count, batch.users.count, batch.contexts.count]

    def _with_dense(self, vectors: Tensor, batch: Pass) -> list[Tensor]:
        """Embeddings of items, users and contexts with their dense columns added."""
        scopes = zip(self.dense.values(), (batch.items, batch.users, batch.contexts), strict=True)
        parts = torch.split(vectors, self._counts(batch))
        return [layer(part, side.dense) for part, (layer, side) in zip(parts, scopes, strict=True)]

    def loss(self, logit_QT: Tensor, label_QT: Tensor) -> Tensor:
        """Cross-entropy or Huber loss, summed over queries and observed outcomes, by task weight."""
        seen = ~label_QT.isnan()
        label = label_QT.nan_to_num()
        binary = functional.binary_cross_entropy_with_logits(logit_QT, label.clamp(0, 1), reduction="none")
        number = functional.huber_loss(logit_QT, label.sign() * label.abs().log1p(), reduction="none")
        each = torch.where(self._binary, binary, number) * self._weight
        return (each * seen).sum()

    def flops(self, size: Size) -> int:
        """Multiply-adds x 2 of a forward pass's products of matrices, dense features aside."""
        heard = 2 * size.queries * self.hear.numel()
        return self.stack.flops(size) + self.experts.flops(size.queries) + heard

    def predict(self, logit_QT: Tensor) -> Tensor:
        """Probabilities and numbers: (Q, T)."""
        full = fill(logit_QT)
        return torch.where(self._binary, full.sigmoid(), full.sign() * full.abs().expm1())[: len(logit_QT)]


def loudness(layers: int) -> list[float]:
    """How much is told of what each of L layers says: the first whole, as if it were alone, and of the others an Lth.

    All weights take steps of one size, so that with every layer more the sum of what they say would jump further.
    """
    return [1 / layers if depth else 1.0 for depth in range(layers)]


def has_pace(config: ModelConfig) -> bool:
    """Whether the time since the newest events goes to the tower: it is a part of history."""
    return config.layers > 0 and config.time_gap


def marm_layers(config: ModelConfig, tasks: dict[str, TaskConfig], codec: str, ids: int = 0) -> TargetAttentionStack:
    """MARM's own reader; ``ids``: kinds of id that rows and targets may share."""
    aside = len(tasks) if config.task_layers and config.layers else 0
    codes = OutcomeCodes(tasks, config.outcomes)
    return TargetAttentionStack(config, codes.parts(), codec, aside, ids, codes.worth())
