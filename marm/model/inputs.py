"""What one pass of the model reads: queries, their views, and where each row of history lies."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from marm.model.features import Encoded
from marm.nn.operands import Work
from marm.nn.views import Views
from marm.types import I64


@dataclass(frozen=True)
class Pass:
    """Queries of several segments against one set of rows; everything flat (Q queries, R rows, U items, B segments)."""

    items: Encoded
    """(U) distinct items of rows and queries."""
    users: Encoded
    """(B)."""
    contexts: Encoded
    """(X) contexts."""
    item_of_query: I64
    segment_of_query: I64
    context_of_query: I64
    item_of_row: I64
    views: Views
    work: Work
    block: Tensor
    """(any, K x C) coded states of depths 1..K."""
    state_of_row: I64
    """(R,) row of the block; -1 - q: live, made by query q; MISSING: there is none, the fall-back stands in."""

    search: "Search | None" = None
    """Finds rows before the windows, where there is a search."""

    MISSING = -(1 << 62)


@dataclass(frozen=True)
class Picked:
    """What one layer reads of a pass: for each query the rows that were picked, in order, then those of its window."""

    passed: Pass
    """Its items are the pass's own, then those picked."""
    item_VD: Tensor
    """Embeddings of the items picked, dense features included."""


class Search(Protocol):
    """What a layer asks for rows before the windows; lives as long as the pass."""

    def pick(self, depth: int, query_QD: Tensor) -> Picked:
        """The rows that a layer which reads ``depth`` attends to, by its folded queries; no gradient by the choice."""
        ...
