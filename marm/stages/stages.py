"""All stages of a run beside its ranking: what a step shows them, and what a cut keeps of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.data.told import Told
from marm.engine.engine import Engine
from marm.stages.cascading import Cascading
from marm.stages.index import FILE, build_index, digest_of, index_bytes
from marm.stages.orders import firsts, ranks
from marm.stages.retrieval import Retrieval
from marm.stages.shown import Received, Shown
from marm.types import F32, F64, U64


@dataclass(frozen=True)
class Saved:
    """Of all stages: tensors and numbers by stage, files by name."""

    tensors: dict[str, dict[str, Tensor]]
    numbers: dict[str, Any]
    files: dict[str, bytes]


class Stages:
    """Shown each pass of ranking; moves none of its bits."""

    def __init__(self, run: RunConfig, log: EventLog, engine: Engine) -> None:
        self.log, self.engine = log, engine
        self.retrieval = Retrieval(run, log, engine) if run.stages.retrieval else None
        self.cascading = Cascading(run, log, engine) if run.stages.cascading else None
        self._task = list(run.tasks).index(run.positive_task) if run.positive_task else 0

    @property
    def names(self) -> list[str]:
        """Of the stages that there are."""
        return [name for name in ("retrieval", "cascading") if getattr(self, name) is not None]

    def show_items(self, told: Told) -> None:
        """Items as the engine is shown them; after it was."""
        if self.retrieval:
            self.retrieval.tell(told.offered)

    def scored(self, shown: Shown, step: int, measured: bool) -> None:
        """A pass that scored exposures, those that it is about for the first time."""
        if measured:
            self.measure(shown, step)
        if self.retrieval:
            self.retrieval.see(shown.whole.item, shown.whole.number)

    def measure(self, shown: Shown, step: int) -> None:
        """Where the stages put the positive ones among those that a pass is about."""
        received = shown.received(self._task)
        if self.retrieval:
            self.retrieval.measure(shown.attended, received, step)
        if self.cascading:
            self._measure_through(self.cascading, shown, received, step)

    def learn(self, shown: Shown, label_QT: F32) -> None:
        """A pass whose outcomes are known, before ranking learns from it; ``label_QT``: of its queries on this rank."""
        if self.retrieval:
            self.retrieval.learn(shown.attended, shown.received(self._task))
        if self.cascading:
            self.cascading.learn(shown, label_QT)

    def _measure_through(self, cascading: Cascading, shown: Shown, received: Received, step: int) -> None:
        """All stages on end for a few positive events, from retrieval's candidates; from drawn ones where there is none."""
        received = received.pick(cascading.is_measured(received.number))
        if not len(received):
            return
        if self.retrieval is None:
            items, number = cascading.drawn(shown, received.exposure, 2 * cascading.config.given)
            cascading.measure(received, cascading.try_out(shown.seen, received.exposure, items, number), {})
        elif len(self.retrieval.items):
            self._measure_found(self.retrieval, cascading, shown, received, step)

    def _measure_found(
        self, retrieval: Retrieval, cascading: Cascading, shown: Shown, received: Received, step: int
    ) -> None:
        asked, known = retrieval.asked(shown.attended, received.query), retrieval.known(step)
        place = firsts(asked, known, retrieval.config.found)
        there = place >= 0
        number = np.where(there, retrieval.items.event[place], -1)
        items: U64 = np.where(there, retrieval.items.ids[place], 0).astype(np.uint64)
        popular: F64 = np.where(there, known.popular[place], -np.inf).astype(np.float64)
        orders = {
            "retrieval": -np.arange(place.shape[1], dtype=float) + np.zeros((len(place), 1)),
            "popularity": popular,
        }
        tried = cascading.try_out(shown.seen, received.exposure, items, number)
        through = cascading.measure(received, tried, orders)
        target = retrieval.items.find(received.item)
        mine = target[received.mine]
        own = np.where((place == mine[:, None]) & there, through, 0).max(1, initial=0)
        found = np.concatenate([own[None], ranks(asked, known, mine)[1:]])
        cascading.hits.add(received.number, target < 0, received.on_all(self.engine.group, found.T)[0].T)

    def result(self) -> dict[str, Any]:
        """For result.json."""
        return {name: getattr(self, name).result() for name in self.names}

    def window(self) -> dict[str, Any]:
        """For metrics.jsonl, since the last call."""
        return {name: getattr(self, name).window() for name in self.names}

    def save(self) -> Saved:
        """What a cut keeps: all ranks call this, and rank 0 has all of it."""
        states = {name: getattr(self, name).state() for name in self.names}
        tensors = {name: state[0] for name, state in states.items()}
        numbers = {name: state[1] for name, state in states.items()}
        files: dict[str, bytes] = {}
        if self.retrieval:
            vectors = self.retrieval.item_vectors(np.arange(len(self.retrieval.items)))
        if self.retrieval and self.engine.group.rank == 0:
            files[FILE] = index_bytes(build_index(self.retrieval.config, vectors))
            numbers["retrieval"]["index"] = digest_of(files[FILE])
        return Saved(tensors, numbers, files)

    def load(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """Take up where a cut was made."""
        for name in self.names:
            getattr(self, name).load(tensors[name], numbers[name])
