"""Adam's moments as tensors with names, to save and take up again."""

import torch
from torch import Tensor, nn


def adam_state(adam: torch.optim.Adam, parameters: list[nn.Parameter]) -> dict[str, Tensor]:
    """Moments by parameter number, and step counts."""
    out: dict[str, Tensor] = {}
    for i, parameter in enumerate(parameters):
        for name, value in adam.state.get(parameter, {}).items():
            out[f"{i}.{name}"] = value.detach().cpu()
    return out


def load_adam(adam: torch.optim.Adam, parameters: list[nn.Parameter], state: dict[str, Tensor]) -> None:
    """Take up where ``state`` was taken."""
    for name, value in state.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        place = value.device if key == "step" else parameter.device
        adam.state[parameter][key] = value.clone().to(place)
