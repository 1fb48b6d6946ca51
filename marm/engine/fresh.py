"""States made anew, by the weights at hand, of whole histories, many users at once.

Facts are enough: a state hangs on the items, outcomes and times before its event, and on nothing else. Without a search a
history is one causal pass. With one it goes in segments through a memory beside, as it was streamed:

    user a   s s s s | s s s | s s s s       a segment ends where a tie group does, at most a window long, so that
    user b   s s | s s s s                   all that it searches is remembered by then; users side by side
"""

import copy
from dataclasses import replace
from functools import partial

import numba as nb
import numpy as np
import torch

from marm.engine.batch import Batch, deal
from marm.engine.engine import Engine, Made
from marm.memory.memory import Memory, nothing
from marm.nn.shares import side_by_side
from marm.store import ArenaStore
from marm.store.rings import places_from, starts
from marm.types import I64

_AT_ONCE = 2048
"""Rows of a pass that searches."""

_ROOM = 1 << 28
"""Bytes of the arena beside, at most."""


def rows_needed(engine: Engine, rows: I64) -> I64:
    """Of how many newest facts ``rows`` states are made: a state reaches one window further back for each depth below.

    With a search, as far as that goes. Where a filter hides rows until they are known, a window reaches as far as a ring.
    """
    shape, window = engine.memory.shape, engine.run.memory.window
    ties = engine.run.memory.slack
    reach = shape.capacity if engine.run.data.history is not None else window + shape.searched + ties + 1
    return rows + shape.depths * reach


def newest_of(counts: I64, wanted: I64) -> I64:
    """Places of the last ``wanted[b]`` of each user's ``counts[b]`` rows, flat."""
    return places_from(np.cumsum(counts) - wanted, wanted)


def engine_beside(engine: Engine, most_bytes: int) -> Engine:
    """The same over an empty hot arena of its own, where no state is too old; of one user at least."""
    shape, memory = engine.memory.shape, engine.run.memory
    ageless = {"max_age": 0, "max_age_seconds": 0.0, "ttl": 0.0}
    config = memory.model_copy(update={**ageless, "hot": max(min(most_bytes, memory.hot), 1)})
    other = copy.copy(engine)
    other.memory = Memory(ArenaStore(shape.layout("")), shape, config, engine.memory.hot.device)
    return other


def fresh_states(engine: Engine, counts: I64, facts: np.ndarray) -> Made:
    """Histories as memory holds them (R rows): user b's facts are the next ``counts[b]``, oldest first.

    The first rows of a history that was cut off see less than they did: see ``rows_needed``.
    """
    return (_segmented if engine.run.memory.search else _whole)(engine, counts, facts)


def _whole(engine: Engine, counts: I64, facts: np.ndarray) -> Made:
    shares = _dealt(counts, engine.threads)
    rows = [places_from(starts(counts)[share], counts[share]) for share in shares]
    batches = [_as_live(counts[share], facts[which]) for share, which in zip(shares, rows, strict=True)]
    jobs = [partial(engine.made_of, batch, nothing(len(batch.users), engine.memory)) for batch in batches]
    return _joined(side_by_side(jobs), rows)


def _dealt(counts: I64, threads: int) -> list[I64]:
    """Users in runs of about as many events for each thread."""
    ends = np.cumsum(counts)
    goals = ends[-1] * np.arange(1, threads) / threads
    shares = np.split(np.arange(len(counts)), np.searchsorted(ends, goals))
    return [share for share in shares if counts[share].sum()]


def _segmented(engine: Engine, counts: I64, facts: np.ndarray) -> Made:
    other = engine_beside(engine, min(len(counts) * engine.memory.shape.ring_bytes, _ROOM))
    hot, (bounds, next_) = other.memory.hot, segments(facts["time"], counts, engine.run.memory.window)
    first, last, made, places = next_[:-1], next_[1:], list[Made](), list[I64]()
    next_, waiting = first.copy(), np.flatnonzero(first < last)
    while len(waiting):
        lengths = bounds[next_[waiting] + 1] - bounds[next_[waiting]]
        # The users in front go on until they are done, so that no more are under way than the arena holds.
        now = max(int(np.searchsorted(np.cumsum(lengths), _AT_ONCE, side="right")), 1)
        users, lengths = waiting[: min(now, hot.slots)], lengths[: min(now, hot.slots)]
        rows = places_from(bounds[next_[users]], lengths)
        hot.admit(users[next_[users] == first[users]].astype(np.uint64), 0)
        part = facts[rows]
        made.append(_made_after(other, users, lengths, part))
        places.append(rows)
        at = hot.map.find(users.astype(np.uint64))
        if other.memory.shape.keys:
            part["keys"] = made[-1].keys
        hot.write(at, hot.head[at], lengths, part, made[-1].states)
        next_[users] += 1
        hot.release(at[next_[users] == last[users]])
        waiting = waiting[next_[waiting] < last[waiting]]
    return _joined(made, places)


def _made_after(engine: Engine, users: I64, counts: I64, facts: np.ndarray) -> Made:
    """What the next rows of users become, whose earlier ones are remembered."""
    batch = _as_live(counts, facts)
    batch = replace(batch, users=users.astype(np.uint64), since=batch.time[starts(counts)])
    shares = deal(batch, engine.threads)
    jobs = [partial(_made_of, engine, share) for share, _ in shares]
    return _joined(side_by_side(jobs), [queries for _, queries in shares])


def _made_of(engine: Engine, batch: Batch) -> Made:
    return engine.made_of(batch, engine.recall(batch))


def _joined(parts: list[Made], rows: list[I64]) -> Made:
    """Parts in one piece, each at its rows."""
    total, like = sum(len(at) for at in rows), parts[0].states
    states, keys = like.new_empty(total, like.shape[1]), np.empty((total, parts[0].keys.shape[1]), np.uint64)
    for part, at in zip(parts, rows, strict=True):
        states[torch.from_numpy(at).to(like.device)] = part.states
        keys[at] = part.keys
    return Made(states, keys)


@nb.njit(cache=True, nogil=True)
def segments(time: I64, counts: I64, most: int) -> tuple[I64, I64]:
    """First row of each segment, and the end (S + 1,); first segment of each user, and the end (B + 1,).

    A segment has whole tie groups, at most ``most`` rows of them or one that is larger.
    """
    bounds, first = np.empty(len(time) + 1, np.int64), np.empty(len(counts) + 1, np.int64)
    total, row = 0, 0
    for b in range(len(counts)):
        first[b], last = total, row + counts[b]
        while row < last:
            bounds[total], begin, end = row, row, row
            total += 1
            while end < last:
                end += 1
                while end < last and time[end] == time[end - 1]:
                    end += 1
                if row > begin and end - begin > most:
                    break
                row = end
    first[-1], bounds[total] = total, row
    return bounds[: total + 1].copy(), first


def _as_live(counts: I64, facts: np.ndarray) -> Batch:
    """Histories as live events of a pass."""
    return Batch(
        users=np.arange(len(counts), dtype=np.uint64),
        user_columns={},
        since=np.zeros(len(counts), np.int64),
        segment=np.repeat(np.arange(len(counts)), counts),
        item=np.ascontiguousarray(facts["item"]),
        item_columns=np.ascontiguousarray(facts["columns"]),
        time=np.ascontiguousarray(facts["time"]),
        context={},
        live=np.ones(len(facts), bool),
        known=np.ascontiguousarray(facts["known"]),
        outcome=np.ascontiguousarray(facts["outcome"]),
    )
