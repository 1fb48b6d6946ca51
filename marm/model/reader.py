"""What stands between a user's history and the tower: MARM's layers, or a rival in their place."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from marm.model.inputs import Pass
from marm.nn.blocks import row_norm
from marm.nn.codec import CODECS
from marm.types import I64


@dataclass(frozen=True)
class Made:
    """What a reader made of the queries of a pass."""

    told: list[Tensor]
    """(Q, D) of each layer, for the tower: what the history added to the target, without the target itself."""
    aside: list[Tensor]
    """(Q, D) of the last layers side by side, likewise."""
    heard: list[Tensor]
    """(Q, any) of each layer: weight on each outcome."""
    states: list[Tensor] = field(default_factory=list)
    """(Q, D) of depths 1 and up, the target in them: what is remembered; a rival has none."""


@dataclass(frozen=True)
class Size:
    """A pass whose queries all see as many rows, as its multiplications are counted."""

    queries: int
    rows: int
    items: int
    window: int


class Reader(nn.Module, ABC):
    """Reads histories for the ranker."""

    made: int
    """Vectors that it tells the tower."""
    heard: int
    """Numbers that say what was heard of outcomes."""
    aside = 0
    """Last layers side by side, one for each task."""

    def __init__(self, codec: str) -> None:
        super().__init__()
        self.codec = CODECS[codec]

    @abstractmethod
    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """What it makes of a pass with these embeddings of its distinct items."""

    @abstractmethod
    def flops(self, size: Size) -> int:
        """Multiply-adds x 2 of a forward pass's products of matrices."""

    def states(self, item_UD: Tensor, batch: Pass, depths: int) -> list[Tensor]:
        """The states of the first depths alone."""
        made: Made = self(item_UD, batch)
        return made.states[:depths]

    @contextmanager
    def watched(self, queries: I64) -> Iterator[list[Tensor]]:
        """While open, notes how each layer of a pass weighs what these queries see: (Q, H, N + 1) as ``heed`` has it."""
        yield []

    def coded(self, state_QD: Tensor) -> Tensor:
        """What is remembered of a state: normed and rounded by the codec, which the gradient does not see."""
        return self.codec.rounded(row_norm(state_QD))
