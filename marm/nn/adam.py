"""Adam with warm-up and clipping; its moments as tensors with names, to save and take up again."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Adam:
    """The optimizer of dense weights: a step from given gradients.

    By torch's fused kernel, as ``torch.optim.Adam`` calls it; that class loads torch's compiler first, which takes seconds.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float, warmup: int, clip: float) -> None:
        """``warmup``: steps over which the rate rises; ``clip``: the largest norm of the gradient."""
        self.parameters = [p for p in parameters if p.requires_grad]
        self.steps = 0
        self._rate, self._warmup, self._clip = rate, warmup, clip
        self._moments: dict[int, dict[str, Tensor]] = {}
        """By number of the parameter: steps that it took, mean gradient, mean square of it."""

    def step(self, grads: Sequence[Tensor | None]) -> float:
        """One step; the share of its rate that warm-up allowed, for what is learned beside."""
        for parameter, grad in zip(self.parameters, grads, strict=True):
            # Torch's fused step reads a gradient as it lies in memory, whatever its strides.
            parameter.grad = None if grad is None else grad.contiguous()
        rise = min(1.0, (self.steps + 1) / self._warmup) if self._warmup else 1.0
        torch.nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self._move(self._rate * rise)
        self.steps += 1
        return rise

    @torch.no_grad()
    def _move(self, rate: float) -> None:
        moved = [
            (parameter, parameter.grad, self._of(number))
            for number, parameter in enumerate(self.parameters)
            if parameter.grad is not None
        ]
        if not moved:
            return
        weights: list[Tensor] = [one for one, _, _ in moved]
        grads, held = [one for _, one, _ in moved], [one for _, _, one in moved]
        means, squares, taken = ([one[name] for one in held] for name in ("exp_avg", "exp_avg_sq", "step"))
        torch._foreach_add_(taken, 1)
        torch._fused_adam_(
            weights, grads, means, squares, [], taken, lr=rate, beta1=_BETAS[0], beta2=_BETAS[1], eps=_EPSILON,
            weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip

    def _of(self, number: int) -> dict[str, Tensor]:
        """The moments of a parameter, zero before its first gradient."""
        parameter = self.parameters[number]
        if number not in self._moments:
            self._moments[number] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self._moments[number]

    def state(self) -> dict[str, Tensor]:
        """Moments by parameter number, and step counts."""
        return {
            f"{number}.{name}": value.detach().cpu()
            for number, held in sorted(self._moments.items())
            for name, value in held.items()
        }

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Take up where ``state`` was taken, after so many steps."""
        self.steps = steps
        for name, value in state.items():
            number, _, key = name.partition(".")
            self._of(int(number))[key] = value.clone().to(self.parameters[int(number)].device)
