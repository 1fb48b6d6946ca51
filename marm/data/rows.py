"""Rows of the log as rows of the stream, in the log's order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from marm.data.columns import convert
from marm.data.ids import hash_text
from marm.data.labels import columns_of, label
from marm.data.order import bucket_edges
from marm.data.plan import Plan, Reading, Report, stop
from marm.data.salvage import salvage
from marm.data.source import HISTORY
from marm.data.times import seconds_to_micros, to_micros
from marm.data.trouble import Chunk, TroubleError, where_remedy
from marm.types import F32, I64, U64

_BUCKET_PARTS = 2
LABELS = "labels"
USER_ID, ITEM_ID, TIME_VALUE = "user_id", "item_id", "time_value"
EVENT_ID = "event_id"
"""Of appended events, and of those of a topic; those of a log of files have none."""


def edges(plan: Plan) -> I64:
    """Times at which to cut a log that is not sorted into buckets that fit in memory; reads the times alone."""
    times = (to_micros(chunk, plan.clock)[0] for chunk in plan.times.chunks())
    return bucket_edges(times, _BUCKET_PARTS * plan.part_rows())


def core(chunk: Chunk, plan: Reading, report: Report) -> tuple[Chunk, pl.DataFrame]:
    """Row, user, item and time of a chunk, and the chunk itself, both without rows where one of them is bad."""
    users = _ids(chunk, plan.run.data.user, report)
    items = _ids(chunk, plan.run.data.item, report)
    time, good, troubles = to_micros(chunk, plan.clock)
    for trouble in troubles:
        report(trouble)
    good &= (users != 0) & (items != 0)
    frame = pl.DataFrame({"row": chunk.row, "user": users, "item": items, "time": time})
    if good.all():
        return chunk, frame
    keep = pl.Series(good)
    return Chunk(chunk.frame.filter(keep), chunk.row[good], chunk.places), frame.filter(keep)


def _ids(chunk: Chunk, column: str, report: Report) -> U64:
    ids = hash_text(chunk.frame[column])
    bad = ids == 0
    if bad.any():
        report(chunk.trouble("null", column, bad, "", where_remedy(column, "IS NOT NULL")))
    return ids


def labels(chunk: Chunk, plan: Reading, report: Report) -> F32:
    """Labels (n, T) of a chunk; a task in trouble is reported, and NaN."""
    out = np.full((len(chunk.row), len(plan.run.tasks)), np.nan, np.float32)
    for at, (name, task) in enumerate(plan.run.tasks.items()):
        if not plan.lost.isdisjoint(columns_of(task)):
            continue
        try:
            out[:, at] = label(chunk, name, task)
        except TroubleError as error:
            report(error)
    return out


def full(chunk: Chunk, plan: Reading, report: Report) -> pl.DataFrame:
    """Everything that the stream keeps of a chunk's rows; the log's own ids and times come last."""
    chunk, frame = core(chunk, plan, report)
    own = chunk.frame
    data = plan.run.data
    delay = seconds_to_micros(chunk, data.feedback_delay)
    return frame.with_columns(
        pl.Series("known", frame["time"].to_numpy() + delay),
        own[HISTORY].cast(pl.UInt8).alias("history"),
        pl.Series(LABELS, labels(chunk, plan, report)),
        *(convert(chunk, feature.name, feature.how).alias(feature.column) for feature in plan.features),
        own[data.user].alias(USER_ID),
        own[data.item].alias(ITEM_ID),
        own[data.time].alias(TIME_VALUE),
    )


def salvaged(chunk: Chunk, plan: Plan, refuse: Callable[[int, str], Any]) -> pl.DataFrame:
    """The same of the rows that can be read, with their event ids; the others are told to ``refuse`` by their number."""
    made = salvage(
        len(chunk.row),
        lambda begin, end: _with_ids(_rows(chunk, begin, end), plan),
        lambda at, reason: refuse(int(chunk.row[at]), reason),
    )
    return pl.concat(made, how="vertical_relaxed") if made else _with_ids(_rows(chunk, 0, 0), plan)


def _with_ids(chunk: Chunk, plan: Plan) -> pl.DataFrame:
    return full(chunk, plan, stop).with_columns(chunk.frame[plan.run.kafka.event_id].cast(pl.String).alias(EVENT_ID))


def _rows(chunk: Chunk, begin: int, end: int) -> Chunk:
    return Chunk(chunk.frame[begin:end], chunk.row[begin:end], chunk.places)
