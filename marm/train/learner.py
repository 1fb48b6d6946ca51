"""One update: Adam with warm-up and clipping for the dense part, row-wise Adagrad without clipping for the table."""

import torch
from torch import Tensor

from marm.config import TrainConfig
from marm.engine.engine import Attended, Engine


class Learner:
    """Holds the optimizer of the dense part; the table has its own state."""

    def __init__(self, engine: Engine, config: TrainConfig) -> None:
        self.engine, self.config, self.steps = engine, config, 0
        self.parameters = [p for p in engine.model.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(self.parameters, lr=config.learning_rate, fused=True)

    def learn(self, attended: Attended, label_QT: Tensor) -> None:
        """Update the weights from a batch's labels (Q, T); NaN where the outcome was not observed."""
        logit_QT = attended.output.logit_QT[: len(label_QT)].float()
        loss = self.engine.model.loss(logit_QT, label_QT.to(logit_QT.device))
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        rise = min(1.0, (self.steps + 1) / self.config.warmup) if self.config.warmup else 1.0
        for group in self.adam.param_groups:
            group["lr"] = self.config.learning_rate * rise
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.adam.step()
        gradient = attended.embedded.grad
        assert gradient is not None
        self.engine.table.learn(attended.bags, gradient * len(label_QT), self.config.table_rate * rise)
        self.steps += 1

    def state(self) -> dict[str, Tensor]:
        """Adam's moments by parameter number, and its step counts."""
        out: dict[str, Tensor] = {}
        for i, parameter in enumerate(self.parameters):
            for name, value in self.adam.state.get(parameter, {}).items():
                out[f"{i}.{name}"] = value.detach().cpu()
        return out

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Take up where ``state`` was taken."""
        self.steps = steps
        for name, value in state.items():
            number, _, key = name.partition(".")
            parameter = self.parameters[int(number)]
            place = value.device if key == "step" else parameter.device
            self.adam.state[parameter][key] = value.clone().to(place)
