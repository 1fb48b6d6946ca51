"""Gradients of many ranks added up."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from marm.ranks.group import Group


def over_ranks(
    group: Group, grads: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]
) -> Sequence[Tensor | None]:
    """Sums of gradients over all ranks, in one flat exchange; None where no rank has any."""
    if group.size == 1:
        return grads
    pairs = list(zip(grads, parameters, strict=True))
    there = torch.tensor([float(grad is not None) for grad in grads])
    flat = torch.cat([there, *(torch.zeros(p.numel()) if grad is None else grad.flatten() for grad, p in pairs)])
    group.add_up(flat)
    sums = torch.split(flat[len(grads) :], [parameter.numel() for parameter in parameters])
    return [
        summed.view_as(parameter) if has else None
        for has, summed, parameter in zip(flat[: len(grads)].tolist(), sums, parameters, strict=True)
    ]
