"""Matrix products whose rows do not depend on how many rows there are, bit for bit.

A BLAS picks its kernel by shape, so a row's last bits may change with the number of rows beside it. A prediction must not
change because of what came after it in the log; so products go in blocks of a fixed number of rows, two of them or more.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 64
"""Rows of a block: large enough to run at the speed of one large product."""

_steady: ContextVar[bool] = ContextVar("rows are steady", default=False)


@contextlib.contextmanager
def steady_rows() -> Iterator[None]:
    """Within: a row of a product is the same whatever other rows there are."""
    token = _steady.set(True)
    try:
        yield
    finally:
        _steady.reset(token)


def is_steady() -> bool:
    """Whether ``steady_rows`` holds."""
    return _steady.get()


def padded(rows: int) -> int:
    """The number of rows that a pass is padded to, so that none of its products has to be."""
    return max(2, -(-rows // ROWS)) * ROWS if _steady.get() else rows


def dense(x_RK: Tensor, weight_KN: Tensor) -> Tensor:
    """x @ weight, in blocks of fixed shape where ``steady_rows`` asks for them: (R, N)."""
    if not _steady.get():
        return x_RK @ weight_KN
    full = fill(x_RK)
    blocks = full.reshape(-1, ROWS, full.shape[1])
    return torch.bmm(blocks, weight_KN.expand(len(blocks), *weight_KN.shape)).view(len(full), -1)[: len(x_RK)]


def dense_each(x_REK: Tensor, weight_EKN: Tensor) -> Tensor:
    """``dense`` of each of E parts of a row by a weight of its own: (R, E, N)."""
    if not _steady.get():
        return torch.einsum("rek,ekn->ren", x_REK, weight_EKN)
    full = fill(x_REK.flatten(1)).view(-1, ROWS, *x_REK.shape[1:])
    blocks = full.transpose(1, 2).flatten(0, 1)
    made = torch.bmm(blocks, weight_EKN.repeat(len(full), 1, 1)).view(len(full), -1, ROWS, weight_EKN.shape[2])
    return made.transpose(1, 2).flatten(0, 1)[: len(x_REK)]


def fill(x_RK: Tensor) -> Tensor:
    """Rows padded with zeros where ``steady_rows`` asks for it: the loops of a machine take their last few another way."""
    short = padded(len(x_RK)) - len(x_RK)
    return functional.pad(x_RK, (0, 0, 0, short)) if short else x_RK
