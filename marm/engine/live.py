"""Live tails: what a user did since the cut, run in the same pass as the targets that are asked about (design: one rule)."""

from dataclasses import replace

import numba as nb
import numpy as np

from marm.data.events import Column, join_columns, take
from marm.engine.batch import Batch
from marm.engine.exposures import Exposures
from marm.mix import GOLDEN
from marm.types import I64, U64, Bool


def with_tails(batch: Batch, tail: Exposures, segment: I64) -> tuple[Batch, I64]:
    """Put live exposures (E), each with the segment that it belongs to, before the queries of a batch that has none.

    Returns the batch and the places of its own queries. A segment's tail is in order of the stream.
    """
    whose = np.concatenate([segment, batch.segment])
    order = np.argsort(whose, kind="stable")
    place = np.empty(len(whose), np.int64)
    place[order] = np.arange(len(whose))

    def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second])[order]

    def column(name: str) -> Column:
        return take(join_columns([tail.context[name], batch.context[name]]), order)

    merged = replace(
        batch,
        segment=whose[order],
        item=both(tail.item, batch.item),
        item_columns=both(tail.item_columns, batch.item_columns),
        time=both(tail.time, batch.time),
        context={name: column(name) for name in batch.context},
        live=both(np.ones(len(segment), bool), batch.live),
        known=both(tail.known, batch.known),
        outcome=both(tail.outcome, batch.outcome),
    )
    return merged, place[len(segment) :]


@nb.njit(cache=True, nogil=True)
def newest(user: U64, time: I64, known: I64, may: Bool, asked_user: U64, asked: I64, hidden: bool, most: int) -> I64:
    """The tail of each question: (2, E) question and place of the newest ``most`` exposures strictly before its time.

    Exposures are in order of user and stream; ``hidden``: one counts from when its outcome is known, which is not falling.
    """
    out = np.empty((2, len(asked) * most), np.int64)
    total = 0
    for i in range(len(asked)):
        at = np.searchsorted(user, asked_user[i], side="right") - 1
        found = 0
        while at >= 0 and user[at] == asked_user[i] and found < most:
            if may[at] and time[at] < asked[i] and (not hidden or known[at] <= asked[i]):
                found += 1
                out[0, total + most - found], out[1, total + most - found] = i, at
            at -= 1
        out[:, total : total + found] = out[:, total + most - found : total + most].copy()
        total += found
    return out[:, :total].copy()


def moments(user: U64, time: I64) -> U64:
    """One number for each user at a time."""
    return user * GOLDEN + time.view(np.uint64)
