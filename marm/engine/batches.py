"""Exposures, and items beside them, as batches (the paper's ExposureSeqGen gives each its history later, by view)."""

from dataclasses import dataclass

import numpy as np

from marm.data.events import take
from marm.engine.batch import Batch
from marm.engine.exposures import Exposures
from marm.store.slots import SlotMap
from marm.types import I64, U64


@dataclass(frozen=True)
class Drawn:
    """Items scored beside exposures, in the same context: negatives. One row for each, in order of exposure."""

    exposure: I64
    """(N,) place of the exposure in the batch."""
    number: I64
    """(N,) event of the stream that the item was drawn from."""
    item: U64
    item_columns: U64

    @staticmethod
    def none(columns: int) -> "Drawn":
        """No negatives."""
        empty = np.zeros(0, np.int64)
        return Drawn(empty, empty, np.zeros(0, np.uint64), np.zeros((0, columns), np.uint64))


@dataclass(frozen=True)
class Asked:
    """A batch, and which exposure or drawn item each query is."""

    batch: Batch
    exposure: I64
    """(Q,) the exposure that each query is, or was drawn for."""
    drawn_from: I64
    """(Q,) the event whose item was drawn; -1: the exposure itself."""
    query_of_exposure: I64
    """(E,)."""
    query_of_drawn: I64
    """(N,)."""


def ask(seen: Exposures, drawn: Drawn, whose: U64 | None = None) -> Asked:
    """Query every exposure and, right after it, its drawn items, so that what comes later moves nothing before it.

    ``whose`` (E,): exposures of one number make a segment; their user's, if not given.
    """
    exposures, extra = len(seen), len(drawn.exposure)
    order = np.argsort(np.concatenate([np.arange(exposures), drawn.exposure]), kind="stable")
    place = np.empty(exposures + extra, np.int64)
    place[order] = np.arange(exposures + extra)
    source = np.concatenate([np.arange(exposures), drawn.exposure])[order]
    map_ = SlotMap(exposures)
    segment = map_.insert(seen.user if whose is None else whose)
    first = np.empty(len(map_), np.int64)
    first[segment[::-1]] = np.arange(exposures)[::-1]
    real = order < exposures
    batch = Batch(
        users=seen.user[first],
        user_columns={name: take(column, first) for name, column in seen.user_columns.items()},
        since=seen.time[first],
        segment=segment[source],
        item=np.concatenate([seen.item, drawn.item])[order],
        item_columns=np.concatenate([seen.item_columns, drawn.item_columns])[order],
        time=seen.time[source],
        context={name: take(column, source) for name, column in seen.context.items()},
        live=real & seen.history[source],
        known=seen.known[source],
        outcome=seen.outcome[source],
    )
    drawn_from = np.concatenate([np.full(exposures, -1), drawn.number])[order]
    return Asked(batch, source, drawn_from, place[:exposures], place[exposures:])
