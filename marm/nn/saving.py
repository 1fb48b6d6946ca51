"""Arrays as tensors that can be saved, and back."""

import numpy as np
import torch
from torch import Tensor

from marm.types import U64


def signed(array: np.ndarray) -> Tensor:
    """An array to save; hashes as their signed bits."""
    return torch.from_numpy(array.view(np.int64) if array.dtype == np.uint64 else array)


def hashes(tensor: Tensor) -> U64:
    """What ``signed`` made of hashes."""
    array: U64 = tensor.numpy().view(np.uint64)
    return array


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
