"""Matrix products whose rows do not depend on how many rows there are, bit for bit.

A BLAS picks its kernel by shape, so a row's last bits may change with the number of rows beside it. A prediction must not
change because of what came after it in the log; so products go in blocks of a fixed number of rows, two of them or more.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

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


class _Blocks(torch.autograd.Function):
    """x @ weight as a batch of equal blocks; the way back is one plain product, since nothing later depends on its rows."""

    @staticmethod
    def forward(ctx: Any, x_RK: Tensor, weight_KN: Tensor) -> Tensor:
        ctx.save_for_backward(x_RK, weight_KN)
        blocks = x_RK.reshape(-1, ROWS, x_RK.shape[1])
        return torch.bmm(blocks, weight_KN.expand(len(blocks), *weight_KN.shape)).view(len(x_RK), -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_RK, weight_KN = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        return grads[0] @ weight_KN.T if need_x else None, x_RK.T @ grads[0] if need_weight else None


def dense(x_RK: Tensor, weight_KN: Tensor) -> Tensor:
    """x @ weight, in blocks of fixed shape where ``steady_rows`` asks for them: (R, N)."""
    if not _steady.get():
        return x_RK @ weight_KN
    out: Tensor = _Blocks.apply(fill(x_RK), weight_KN)  # type: ignore[no-untyped-call]
    return out[: len(x_RK)]


def fill(x_RK: Tensor) -> Tensor:
    """Rows padded with zeros where ``steady_rows`` asks for it: the loops of a machine take their last few another way."""
    short = padded(len(x_RK)) - len(x_RK)
    return functional.pad(x_RK, (0, 0, 0, short)) if short else x_RK
