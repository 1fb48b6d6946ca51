"""What a pass looked up in a table: the leaves at which its gradient arrives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from marm.nn.table import Bag, HashTable, Part
from marm.types import F32


@dataclass(frozen=True)
class Leaf:
    """Embeddings and biases (N, D + T), what they were summed from, and how many queries use each as their own (N,)."""

    embedded: Tensor
    bags: list[Bag]
    asked: F32

    def parts(self, gradient: Tensor | None) -> list[Part]:
        """What the table learns from the gradient that arrived; nothing where none did."""
        return [] if gradient is None else [Part(bag, gradient, self.asked) for bag in self.bags]


def look_up(table: HashTable, bags: list[Bag], asked: F32) -> Leaf:
    """The table's rows for N outputs, which take a gradient where one is wanted."""
    return Leaf(table.lookup(bags, len(asked)).requires_grad_(torch.is_grad_enabled()), bags, asked)
