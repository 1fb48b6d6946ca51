"""What a share looked up in the table: the leaves at which its gradient arrives."""

from dataclasses import dataclass

from torch import Tensor

from marm.nn.table import Bag
from marm.types import F32


@dataclass(frozen=True)
class Leaf:
    """Embeddings and biases (N, D + T), what they were summed from, and how many queries use each as their own (N,)."""

    embedded: Tensor
    bags: list[Bag]
    asked: F32
