"""When outcomes are known, where a filter that reads them decides which events enter histories."""

import polars as pl

from marm.config import RunConfig
from marm.data.stream import EventLog

_CHUNK = 2**20


class InOrder:
    """Makes ``known`` of each user's events not falling, over blocks in the stream's order.

    Events enter histories in their order, so one waits for those before it: for all of them, since waiting for those alone
    that pass the filter would show outcomes that are not known yet.
    """

    def __init__(self) -> None:
        self._late = pl.DataFrame(schema={"user": pl.UInt64, "late": pl.Int64})

    def __call__(self, block: pl.DataFrame) -> pl.DataFrame:
        """The block with its ``known`` raised."""
        joined = block.join(self._late, on="user", how="left", maintain_order="left")
        known = pl.max_horizontal(pl.col("known").cum_max().over("user"), "late")
        block = joined.with_columns(known=known).drop("late")
        seen = pl.concat([self._late, block.select("user", pl.col("known").alias("late"))])
        # What is known by now can hold no later event back.
        self._late = seen.filter(pl.col("late") > block["time"][-1]).group_by("user").agg(pl.col("late").max())
        return block


def known_in_order(run: RunConfig, log: EventLog) -> InOrder | None:
    """What goes on with ``known`` where a log ends; nothing, where no filter reads what becomes known later."""
    if run.data.history is None or run.data.feedback_delay == 0:
        return None
    in_order = InOrder()
    for low in range(0, len(log), _CHUNK):
        events = log.read(low, min(low + _CHUNK, len(log)))
        in_order(pl.DataFrame({"user": events.user, "time": events.time, "known": events.known}))
    return in_order
