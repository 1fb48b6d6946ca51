"""Weights that score, averaged over the last steps of those that learn: what each step adds by chance goes out of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """An exponential average of dense weights, of no age at first (Polyak and Juditsky 1992)."""

    def __init__(self, parameters: Sequence[nn.Parameter], steps: int) -> None:
        """``steps``: how far it reaches back."""
        self._parameters: list[Tensor] = list(parameters)
        self._share = 1.0 / steps
        self._mean = self._copied()

    @torch.no_grad()
    def take(self, steps: int) -> None:
        """The weights as they are after so many steps count from now on."""
        torch._foreach_lerp_(self._mean, self._parameters, max(self._share, 1.0 / (steps + 1)))

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """The average stands in the weights' place for a while."""
        learning = self._copied()
        self._put(self._mean)
        try:
            yield
        finally:
            self._put(learning)

    def state(self) -> dict[str, Tensor]:
        """The weights that learn, by number of the parameter: the model's own are saved as they score."""
        return {f"learning.{number}": value.detach().cpu() for number, value in enumerate(self._parameters)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up where ``state`` was taken; the weights are those that score, and learn from now on."""
        self._mean = self._copied()
        self._put([state[f"learning.{number}"] for number in range(len(self._parameters))])

    def _copied(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self._parameters, values)
