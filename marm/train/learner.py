"""One update: Adam with warm-up and clipping for the dense part, row-wise Adagrad without clipping for the table."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

from marm.config import TrainConfig
from marm.engine.engine import Attended, Engine, Share
from marm.nn.adam import Adam
from marm.nn.average import Average
from marm.nn.shares import side_by_side
from marm.nn.table import Part
from marm.ranks import over_ranks


class Learner:
    """One update of the engine's weights from a scored batch."""

    def __init__(self, engine: Engine, config: TrainConfig) -> None:
        self.engine, self._table_rate = engine, config.table_rate
        self.adam = Adam(engine.model.parameters(), config.learning_rate, config.warmup, config.clip)
        self.average = Average(self.adam.parameters, config.average) if config.average else None

    def learn(self, attended: Attended, label_QT: Tensor) -> None:
        """Update the weights from a batch's labels (Q, T); NaN where the outcome was not observed."""
        (count,) = self.engine.group.total(len(label_QT))
        slopes = side_by_side([partial(self._slope, share, label_QT, count) for share in attended.shares])
        # Added up in the order of the shares: the same bits at the same number of threads.
        none: list[Tensor | None] = [None] * len(self.adam.parameters)
        found = [
            [grad for grad in grads if grad is not None]
            for grads in zip(none, *(dense for dense, _ in slopes), strict=True)
        ]
        dense = [sum(grads[1:], grads[0]) if grads else None for grads in found]
        rise = self.adam.step(over_ranks(self.engine.group, dense, self.adam.parameters))
        if self.average:
            self.average.take(self.adam.steps)
        parts = [part for _, parts in slopes for part in parts]
        self.engine.table.learn(parts, self._table_rate * rise, self.engine.threads)

    def scoring(self) -> AbstractContextManager[None]:
        """While it lasts the engine has the weights that score, where they are others than those that learn."""
        return self.average.scoring() if self.average else nullcontext()

    def state(self) -> dict[str, Tensor]:
        """All that learning goes on with beside the weights that score."""
        return self.adam.state() | (self.average.state() if self.average else {})

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Take up where ``state`` was taken, after so many steps; the engine has the weights that score."""
        if self.average:
            self.average.load(state)
        self.adam.load({name: value for name, value in state.items() if not name.startswith("learning.")}, steps)

    def _slope(self, share: Share, label_QT: Tensor, count: int) -> tuple[list[Tensor | None], list[Part]]:
        """Gradients of the mean loss over ``count`` queries by the dense weights, and of its sum by what the table gave."""
        label = label_QT[torch.from_numpy(share.queries)].to(share.output.logit_QT.device)
        loss = self.engine.model.loss(share.output.logit_QT[: len(label)].float(), label) / count
        leaves = [*self.adam.parameters, *(leaf.embedded for leaf in share.leaves)]
        grads: Sequence[Tensor | None] = torch.autograd.grad(loss, leaves, allow_unused=True)
        dense, sparse = grads[: len(self.adam.parameters)], grads[len(self.adam.parameters) :]
        # The table learns from sums over queries, all else from means.
        slopes = [None if slope is None else slope * count for slope in sparse]
        return list(dense), [
            part for leaf, slope in zip(share.leaves, slopes, strict=True) for part in leaf.parts(slope)
        ]
