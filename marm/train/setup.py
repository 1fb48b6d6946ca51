"""From settings and a prepared log to an engine: the one place where the floors are put together."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from marm.config import RunConfig
from marm.config.memory import DAY
from marm.data.stream import EventLog
from marm.engine.engine import Engine
from marm.errors import FolderError, SettingError
from marm.memory.memory import Memory, RingShape
from marm.model.ranker import Ranker
from marm.nn.sharded import ShardedTable
from marm.nn.shares import cores
from marm.nn.table import HashTable
from marm.ranks import ALONE, Group
from marm.rivals import make_reader
from marm.store import Store, missing_store, open_store
from marm.train.cut import cut_numbers

VERSION = "marm-1"
"""Changes when rows made by an earlier release can no longer be read."""


def device_of(run: RunConfig) -> torch.device:
    """The device that ``train.device`` names; ``auto``: CUDA where there is one."""
    name = run.train.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(f"train.device = {name!r}: give auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingError('train.device = "cuda": this machine has no CUDA device; set train.device = "auto"')
    return device


def set_threads(run: RunConfig, recorded: int | None = None, group: Group = ALONE) -> int:
    """Shares that a step is dealt into: as recorded by an earlier cut, as set, or one for each core; one on each of many ranks.

    Within a share every product runs on one thread: they are small, and a second costs more in waiting than it brings.
    """
    torch.set_num_threads(1)
    if group.size > 1:
        return 1
    return recorded or run.train.threads or cores()


def threads_of(state: dict[str, Any]) -> int | None:
    """Shares of whoever made a cut, if it was one process: only then can its bits be had again."""
    return state["threads"] if state.get("ranks", 1) == 1 else None


def ring_shape(run: RunConfig, log: EventLog, outstanding: int | None = None) -> RingShape:
    """Sizes of the rings: the window, what is searched, the live tail, a row for token shift, slack for ties, what waits.

    ``outstanding``: the most events of a user that wait for their outcomes; the log's own, if not given. An event that is
    learned late finds those after it remembered; where ``data.history`` filters, those before it may be hidden too.
    """
    memory, sides = run.memory, 1 + (run.data.history is not None)
    searched = memory.search.history if memory.search else 0
    least = run.reach + searched + run.train.live * sides + 1 + memory.slack
    columns = tuple(log.manifest.columns["item"])
    sizes = (least, max(memory.facts, least), searched, run.search_keys)
    shape = RingShape(run.depths, run.model.width, memory.codec, columns, *sizes)
    waits = sides * (log.manifest.outstanding if outstanding is None else outstanding)
    # Bounded: the hot arena must hold the users of a step. What does not fit is counted and told (``rows_lost``).
    most = memory.hot // (shape.facts.itemsize + shape.state_bytes) // run.train.micro_batch
    capacity = max(least, min(least + waits, most))
    return replace(shape, capacity=capacity, facts_kept=max(memory.facts, capacity))


def family(run: RunConfig) -> str:
    """What must be equal for a model to read rows: features, tasks and all of the model, as a short hash."""
    told = {
        "version": VERSION,
        "features": run.features.model_dump(),
        "tasks": [[n, t.kind, t.history, t.edges] for n, t in run.tasks.items()],
        "model": run.model.model_dump(),
        "history": run.data.history,
    }
    if run.search_keys and run.memory.search:
        told["search"] = run.memory.search.model_dump(include={"rule", "bits", "category"})
    return "features " + hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def dense_widths(run: RunConfig, log: EventLog) -> dict[str, dict[str, int]]:
    """Numbers in each dense feature: a vector's width, one for a linear number; by scope."""
    found = log.manifest.widths
    scopes = {"item": run.features.item, "user": run.features.user, "context": run.features.context}
    widths: dict[str, dict[str, int]] = {scope: {} for scope in scopes}
    for scope, features in scopes.items():
        for name, feature in features.items():
            if feature.kind == "vector":
                widths[scope][name] = found.get(f"{scope}s.{name}") or found[f"{scope}.{name}"]
            elif feature.kind == "number" and feature.linear:
                widths[scope][name] = 1
    return widths


def _together(run: RunConfig) -> int:
    """Rows that a query's biases are summed from: two probes of each id and feature."""
    features = run.features
    return 2 * (1 + run.model.user_id + len(features.item) + len(features.user) + len(features.context))


Wrap = Callable[[Store], Store]
"""Puts something before a store."""


def as_it_is(store: Store) -> Store:
    """Puts nothing before it."""
    return store


@dataclass(frozen=True)
class Wraps:
    """What stands before a store that is read where it lies."""

    below: Wrap = as_it_is
    """Beneath what hides rows of later cuts."""
    above: Wrap = as_it_is
    """Before that."""


def check_store(url: str, folder: Path) -> None:
    """A run that has a cut has a store, which is not made anew where it is gone. Errors: ``FolderError``."""
    gone = missing_store(url, folder) if cut_numbers(folder) else None
    if gone:
        raise FolderError(f"{gone}: the store is gone: put it back, or train into a new folder")


@dataclass(frozen=True)
class Parts:
    """What a run is made of."""

    engine: Engine
    store: Store
    device: torch.device
    cut: int = -1
    """Number of the cut whose weights it has."""


def build(
    run: RunConfig,
    log: EventLog,
    folder: Path,
    threads: int,
    url: str | None = None,
    readonly: bool = False,
    wrap: Wrap | None = None,
    outstanding: int | None = None,
    hot: int | None = None,
    group: Group = ALONE,
) -> Parts:
    """Model, table, store and memory, as the seed makes them; ``url`` instead of the run's own store.

    ``outstanding``: of the log that the run was trained on, where ``log`` is another one; ``hot``: bytes of the hot arena, if
    other than the run's, by which rings were sized; ``group``: who trains together.
    Errors: ``FolderError`` where the store of a run that has a cut is gone.
    """
    device = device_of(run) if group.size == 1 else torch.device("cpu")
    if device.type != "cpu" and run.memory.search and run.memory.search.rule == "dot":
        raise SettingError(
            f'memory.search.rule = "dot" searches on a CPU, not on {device}: set "hash", or train.device'
        )
    torch.manual_seed(run.train.seed)
    widths = dense_widths(run, log)
    reader = partial(make_reader, run)
    model = Ranker(run.model, run.tasks, run.memory.codec, widths, run.memory.store_top, reader).to(device)
    table = _table(run, device, group)
    shape = ring_shape(run, log, outstanding)
    url = url or run.memory.url
    check_store(url, folder)
    reads = readonly or (group.rank > 0 and url.startswith("lmdb:"))  # LMDB has one process that writes
    store = _opened(partial(open_store, url, shape.layout(family(run)), folder, reads, kept_for(run)), group)
    store = wrap(store) if wrap else store
    config = run.memory if hot is None else run.memory.model_copy(update={"hot": hot})
    memory = Memory(store, shape, config, device, group)
    return Parts(Engine(run, model, table, memory, (log.items, log.users), threads, group), store, device)


def _table(run: RunConfig, device: torch.device, group: Group) -> HashTable:
    rows, width, seed = run.model.table_rows, run.model.width, run.train.seed
    biases, together = len(run.tasks), _together(run)
    if group.size > 1:
        return ShardedTable(rows, width, seed, group, biases=biases, together=together)
    return HashTable(rows, width, seed, device, biases=biases, together=together)


def kept_for(run: RunConfig) -> float:
    """Seconds that Redis keeps a user after an append; 0: for ever."""
    return run.memory.redis_ttl_days * DAY


def _opened(opening: Callable[[], Store], group: Group) -> Store:
    """The store, made by rank 0 where it is new."""
    if group.rank:
        group.wait()
    store = opening()
    if not group.rank:
        group.wait()
    return store
