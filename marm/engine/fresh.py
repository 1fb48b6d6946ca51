"""States made anew, by the weights at hand, of whole histories: many events of a user in one causal pass, many users at once.

Facts are enough: a state hangs on the items, outcomes and times before its event, and on nothing else.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from marm.config import RunConfig
from marm.engine.batch import Batch
from marm.engine.engine import Engine
from marm.errors import SettingError
from marm.nn.shares import side_by_side
from marm.store.rings import places_from, starts
from marm.types import I64


def check_fresh(run: RunConfig) -> None:
    """Refuse what a pass over whole histories cannot make. Errors: ``SettingError``."""
    if run.memory.search:
        raise SettingError(
            "memory.search: states of a run that searches hang on what its searches found then, and are not made anew; "
            "train it again instead"
        )


def rows_needed(engine: Engine, rows: I64) -> I64:
    """Of how many newest facts ``rows`` states are made: a state reaches one window further back for each depth below.

    Where a filter hides rows until they are known, a window reaches as far as a ring does.
    """
    reach = engine.memory.shape.capacity if engine.run.data.history is not None else engine.run.memory.window + 1
    return rows + engine.memory.shape.depths * reach


def newest_of(counts: I64, wanted: I64) -> I64:
    """Places of the last ``wanted[b]`` of each user's ``counts[b]`` rows, flat."""
    return places_from(np.cumsum(counts) - wanted, wanted)


def fresh_states(engine: Engine, counts: I64, facts: np.ndarray) -> Tensor:
    """States of histories (R, K x C) as memory holds them: user b's facts are the next ``counts[b]``, oldest first.

    The first rows of a history that was cut off see less than they did: see ``rows_needed``.
    """
    shares = _dealt(counts, engine.threads)
    rows = [places_from(starts(counts)[share], counts[share]) for share in shares]
    jobs = [partial(_made, engine, counts[share], facts[which]) for share, which in zip(shares, rows, strict=True)]
    made = side_by_side(jobs)
    out = torch.empty((len(facts), made[0].shape[1]), dtype=made[0].dtype, device=made[0].device)
    for which, states in zip(rows, made, strict=True):
        out[torch.from_numpy(which).to(out.device)] = states
    return out


def _dealt(counts: I64, threads: int) -> list[I64]:
    """Users in runs of about as many events for each thread."""
    ends = np.cumsum(counts)
    goals = ends[-1] * np.arange(1, threads) / threads
    shares = np.split(np.arange(len(counts)), np.searchsorted(ends, goals))
    return [share for share in shares if counts[share].sum()]


def _made(engine: Engine, counts: I64, facts: np.ndarray) -> Tensor:
    return engine.coded(engine.states_of(_as_live(counts, facts)))


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
