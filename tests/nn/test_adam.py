"""Adam takes a gradient by its shape, however it lies in memory."""

import torch
from torch import nn

from marm.nn.adam import Adam


def test_a_gradient_that_lies_transposed_moves_the_same_weights():
    slope = torch.randn(8, 4, 2).permute(2, 1, 0)
    moved = []
    for grad in (slope, slope.contiguous()):
        weight = nn.Parameter(torch.zeros(2, 4, 8))
        Adam([weight], 0.01, 0, 1e9).step([grad])
        moved.append(weight.detach())
    assert torch.equal(*moved) and torch.equal(moved[0].sign(), -slope.sign())
