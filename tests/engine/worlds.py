"""Small generated logs and engines to run them through."""

import dataclasses
import itertools

import numpy as np
import torch

from marm.config import RunConfig, remembered_depths
from marm.engine.batches import Drawn, ask
from marm.engine.engine import Engine
from marm.engine.exposures import Exposures
from marm.memory.memory import Memory, RingShape
from marm.model.outcomes import OutcomeCodes
from marm.model.ranker import Ranker
from marm.nn.table import HashTable
from marm.rivals import make_reader
from marm.store.base import Facts, Holding

SECOND = 1_000_000


def run_config(**sections):
    raw = {
        "data": {"log": "log.parquet", "user": "u", "item": "i", "time": "t"},
        "tasks": {"click": {"column": "c"}, "watch": {"column": "w", "kind": "regression"}},
        "model": {"layers": 3, "width": 8, "heads": 2, "tower": 8, "experts": 2, "table_rows": 256},
        "memory": {"window": 6, "codec": "float32", "slack": 64, "hot": 2**22},
        "train": {"live": 4, "micro_batch": 8},
    }
    for section, values in sections.items():
        raw[section] = {**raw.get(section, {}), **values}
    return RunConfig.model_validate(raw)


def exposures(seed, events=60, users=4, items=12, delay=0, ties=0.3, filtered=False):
    """A log in stream order: ties within a user, repeats of items, outcomes known late."""
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.integers(0, 3, events) * (rng.random(events) > ties)) * SECOND
    user = rng.integers(1, users + 1, events).astype(np.uint64)
    order = np.lexsort((user, time))
    labels = np.stack([rng.integers(0, 2, events), rng.random(events) * 4], 1).astype(np.float32)
    labels[rng.random(events) < 0.1, 0] = np.nan
    known = time + (rng.integers(0, delay + 1, events) * SECOND if delay else 0)
    return Exposures(
        number=np.arange(events),
        user=user[order],
        item=rng.integers(1, items + 1, events).astype(np.uint64),
        time=time[order],
        known=known[order],
        history=rng.random(events) < 0.7 if filtered else np.ones(events, bool),
        outcome=OutcomeCodes(run_config().tasks).encode(labels),
        labels=labels,
        item_columns=np.zeros((events, 0), np.uint64),
        user_columns={},
        context={},
    )


def shelves(item):
    """A logged category for each item: (N, 1); of some items none."""
    return (item % 4)[:, None].astype(np.uint64)


def build(run, seed=0):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Ranker(
        run.model, run.tasks, run.memory.codec, store_top=run.memory.store_top, reader=lambda: make_reader(run)
    )
    # Larger than at the start of learning, so that a wrong row shows.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    table = HashTable(run.model.table_rows, run.model.width, seed, torch.device("cpu"), 0.5, len(run.tasks))
    table.weight[:, run.model.width :].normal_(std=0.3)
    return Engine(run, model, table, memory_for(run), threads=2)


class NoStore:
    """A store that nobody was ever put into: here the hot arena holds all users."""

    def __init__(self, shape):
        self.shape, self.damaged, self.generation = shape, set(), ""

    def holding(self):
        return Holding(np.zeros(0, np.uint64), *(np.zeros(0, np.int64) for _ in range(3)))

    def read_facts(self, users, count, before=None):
        zero = [np.zeros(len(users), np.int64) for _ in range(4)]
        return Facts(*zero, np.zeros((0, self.shape.facts.itemsize), np.uint8))


def memory_for(run):
    depths = remembered_depths(run.model, run.memory.store_top)
    searched = run.memory.search.history if run.memory.search else 0
    capacity = run.reach + searched + run.train.live + run.memory.slack + 1
    rest = tuple(run.features.item), capacity, 10_000, searched, run.search_keys
    shape = RingShape(depths, run.model.width, run.memory.codec, *rest)
    return Memory(NoStore(shape), shape, run.memory, torch.device("cpu"))


def tie_groups(seen):
    """First event of each tie group, and the end."""
    new = (np.diff(seen.time) != 0) | (np.diff(seen.user.astype(np.int64)) != 0)
    return np.concatenate([[0], np.flatnonzero(new) + 1, [len(seen)]])


def segment_through(engine, seen, cuts, drawn_for=None):
    """Score the log in passes that end at ``cuts`` (numbers of tie groups), remembering after each; logits in stream order."""
    groups = tie_groups(seen)
    bounds = np.unique(np.concatenate([[0], groups[cuts], [len(seen)]]))
    exposed, beside = [], []
    for step, (low, high) in enumerate(itertools.pairwise(bounds)):
        part = seen.pick(np.arange(low, high))
        drawn = drawn_for(part) if drawn_for else Drawn.none(seen.item_columns.shape[1])
        asked = ask(part, drawn)
        with torch.no_grad():
            engine.memory.admit(asked.batch.users, step + 1)
            output = engine.attend(asked.batch)
        exposed.append(output.logit_QT[asked.query_of_exposure])
        beside.append(output.logit_QT[asked.query_of_drawn])
        engine.remember(
            part, output.state_QKD[asked.query_of_exposure], step, engine.keys(output)[asked.query_of_exposure]
        )
    return torch.cat(exposed), torch.cat(beside)


def with_column(seen, name, values):
    return dataclasses.replace(seen, **{name: values})
