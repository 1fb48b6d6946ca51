"""What one pass of the model reads: queries, their views, and where each row of history lies."""

from dataclasses import dataclass

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

    MISSING = -(1 << 62)
