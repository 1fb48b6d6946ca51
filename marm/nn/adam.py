"""Adam with warm-up and clipping; its moments as tensors with names, to save and take up again."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class Adam:
    """The optimizer of dense weights: a step from given gradients."""

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float, warmup: int, clip: float) -> None:
        """``warmup``: steps over which the rate rises; ``clip``: the largest norm of the gradient."""
        self.parameters = [p for p in parameters if p.requires_grad]
        self.steps = 0
        self._rate, self._warmup, self._clip = rate, warmup, clip
        self._adam = torch.optim.Adam(self.parameters, lr=rate, fused=True)

    def step(self, grads: Sequence[Tensor | None]) -> float:
        """One step; the share of its rate that warm-up allowed, for what is learned beside."""
        for parameter, grad in zip(self.parameters, grads, strict=True):
            # Torch's fused step reads a gradient as it lies in memory, whatever its strides.
            parameter.grad = None if grad is None else grad.contiguous()
        rise = min(1.0, (self.steps + 1) / self._warmup) if self._warmup else 1.0
        for group in self._adam.param_groups:
            group["lr"] = self._rate * rise
        torch.nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self._adam.step()
        self.steps += 1
        return rise

    def state(self) -> dict[str, Tensor]:
        """Moments by parameter number, and step counts."""
        out: dict[str, Tensor] = {}
        for i, parameter in enumerate(self.parameters):
            for name, value in self._adam.state.get(parameter, {}).items():
                out[f"{i}.{name}"] = value.detach().cpu()
        return out

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Take up where ``state`` was taken, after so many steps."""
        self.steps = steps
        for name, value in state.items():
            number, _, key = name.partition(".")
            parameter = self.parameters[int(number)]
            place = value.device if key == "step" else parameter.device
            self._adam.state[parameter][key] = value.clone().to(place)
