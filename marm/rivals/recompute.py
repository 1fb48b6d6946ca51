"""MARM without a memory: the states of all rows made anew, with live gradients; what remembered states fall short of."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marm.config import RunConfig
from marm.engine.batch import find_views
from marm.model.inputs import Pass
from marm.model.outcomes import OutcomeCodes
from marm.model.reader import Made, Reader, Size
from marm.model.stack import TargetAttentionStack
from marm.nn.dense import padded
from marm.nn.operands import plan_work
from marm.types import I64

Number = TypeVar("Number", np.int64, np.uint64)


class Recompute(Reader):
    """MARM's own layers over the newest L x n rows, each asked as it once was; the target reads what they make now."""

    def __init__(self, run: RunConfig, codes: OutcomeCodes, top: int) -> None:
        super().__init__(run.memory.codec)
        self.window, self.hidden = run.memory.window, run.data.history is not None
        self.layers = TargetAttentionStack(
            run.model, codes.parts(), run.memory.codec, top, run.compared_ids, codes.worth()
        )
        self.made, self.heard, self.aside = self.layers.made, self.layers.heard, top

    def forward(self, item_UD: Tensor, batch: Pass) -> Made:
        """States of the queries alone."""
        made, queries = self.layers(item_UD, self.asked(batch)), len(batch.item_of_query)
        return Made(*([x[:queries] for x in parts] for parts in (made.told, made.aside, made.heard, made.states)))

    def asked(self, batch: Pass) -> Pass:
        """The pass with every row as a query of its own time, after those that there are."""
        views, rows_at = batch.views, batch.work.rows_at
        rows, queries = len(batch.item_of_row), len(batch.item_of_query)
        segment = np.repeat(np.arange(len(rows_at) - 1), np.diff(rows_at))
        begin, end = find_views(views.time, views.known, rows_at, segment, views.time, self.window, self.hidden)
        extra = padded(queries + rows) - queries - rows

        def join(first: NDArray[Number], of_rows: NDArray[Number]) -> NDArray[Number]:
            return np.concatenate([first, of_rows, np.zeros((extra, *first.shape[1:]), first.dtype)])

        views = replace(
            views,
            begin=join(views.begin, begin),
            end=join(views.end, end),
            asked=join(views.asked, views.time),
            query_ids=join(views.query_ids, views.row_ids),
        )
        segment_of_query = join(batch.segment_of_query, segment)
        return replace(
            batch,
            item_of_query=join(batch.item_of_query, batch.item_of_row),
            segment_of_query=segment_of_query,
            views=views,
            work=plan_work(views, segment_of_query, rows_at),
            state_of_row=-1 - queries - np.arange(rows),
        )

    @contextmanager
    def watched(self, queries: I64) -> Iterator[list[Tensor]]:
        """As its layers tell it."""
        with self.layers.watched(queries) as noted:
            yield noted

    def flops(self, size: Size) -> int:
        """Of all layers for rows and targets."""
        return self.layers.flops(replace(size, queries=size.queries + size.rows))
