"""One update: Adam with warm-up and clipping for the dense part, row-wise Adagrad without clipping for the table."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from marm.config import TrainConfig
from marm.engine.engine import Attended, Engine, Share
from marm.nn.adam import adam_state, load_adam
from marm.nn.shares import side_by_side
from marm.nn.table import Part


class Learner:
    """Holds the optimizer of the dense part; the table has its own state."""

    def __init__(self, engine: Engine, config: TrainConfig) -> None:
        self.engine, self.config, self.steps = engine, config, 0
        self.parameters = [p for p in engine.model.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(self.parameters, lr=config.learning_rate, fused=True)

    def learn(self, attended: Attended, label_QT: Tensor) -> None:
        """Update the weights from a batch's labels (Q, T); NaN where the outcome was not observed."""
        slopes = side_by_side([partial(self._slope, share, label_QT) for share in attended.shares])
        # Added up in the order of the shares: the same bits at the same number of threads.
        for parameter, *grads in zip(self.parameters, *(dense for dense, _ in slopes), strict=True):
            found = [grad for grad in grads if grad is not None]
            parameter.grad = sum(found[1:], found[0]) if found else None
        rise = min(1.0, (self.steps + 1) / self.config.warmup) if self.config.warmup else 1.0
        for group in self.adam.param_groups:
            group["lr"] = self.config.learning_rate * rise
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.adam.step()
        shares = zip(attended.shares, slopes, strict=True)
        parts = [Part(bag, sparse, share.asked()) for share, (_, sparse) in shares for bag in share.bags]
        self.engine.table.learn(parts, self.config.table_rate * rise, self.engine.threads)
        self.steps += 1

    def _slope(self, share: Share, label_QT: Tensor) -> tuple[list[Tensor | None], Tensor]:
        """Gradients of the mean loss by the dense weights, and of its sum by what the table gave."""
        label = label_QT[torch.from_numpy(share.queries)].to(share.embedded.device)
        loss = self.engine.model.loss(share.output.logit_QT[: len(label)].float(), label) / len(label_QT)
        leaves = [*self.parameters, share.embedded]
        grads: Sequence[Tensor | None] = torch.autograd.grad(loss, leaves, allow_unused=True)
        sparse = grads[-1]
        assert sparse is not None
        return list(grads[:-1]), sparse * len(label_QT)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments by parameter number, and its step counts."""
        return adam_state(self.adam, self.parameters)

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Take up where ``state`` was taken."""
        self.steps = steps
        load_adam(self.adam, self.parameters, state)
