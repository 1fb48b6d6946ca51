"""Adam takes a gradient by its shape, however it lies in memory, and steps as torch's own does."""

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


def test_steps_are_those_of_torchs_own_bit_for_bit_taken_up_again_and_where_a_gradient_is_missing():
    torch.manual_seed(0)
    shapes = [(7, 5), (33,), (2, 3, 4)]
    mine = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(weight.detach().clone()) for weight in mine]
    adam, plain = Adam(mine, 0.01, 0, 1e9), torch.optim.Adam(theirs, lr=0.01, fused=True)
    for step in range(20):
        if step == 10:
            state, (adam, before) = adam.state(), (Adam(mine, 0.01, 0, 1e9), adam)
            adam.load(state, before.steps)
        grads = [None if number == 1 and step % 3 else torch.randn(shape) for number, shape in enumerate(shapes)]
        for weight, grad in zip(theirs, grads, strict=True):
            weight.grad = None if grad is None else grad.clone()
        adam.step(grads)
        plain.step()
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))
    held = {f"{i}.{name}": value for i, weight in enumerate(theirs) for name, value in plain.state[weight].items()}
    assert held.keys() == adam.state().keys() and all(torch.equal(held[key], adam.state()[key]) for key in held)
