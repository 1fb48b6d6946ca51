"""All stages of a run beside its ranking: what a step shows them, and what a cut keeps of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.data.told import Told
from marm.engine.batches import Asked
from marm.engine.engine import Attended, Engine
from marm.engine.exposures import Exposures
from marm.stages.cascading import Cascading
from marm.stages.index import FILE, build_index, digest_of, index_bytes
from marm.stages.orders import firsts, ranks
from marm.stages.retrieval import Received, Retrieval
from marm.types import F32, F64, U64, Bool


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

    def scored(self, seen: Exposures, asked: Asked, attended: Attended, new: Bool, step: int, measured: bool) -> None:
        """A pass that scored exposures, those that are ``new`` (E,) for the first time."""
        if measured:
            self.measure(seen, asked, attended, new, step)
        if self.retrieval:
            self.retrieval.see(seen.item[new], seen.number[new])

    def measure(self, seen: Exposures, asked: Asked, attended: Attended, new: Bool, step: int) -> None:
        """Where the stages put the positive ones among ``new`` exposures (E,)."""
        received = self._received(seen, asked, new)
        if self.retrieval:
            self.retrieval.measure(attended, received, step)
        if self.cascading:
            self._measure_through(self.cascading, seen, attended, received, step)

    def learn(self, seen: Exposures, asked: Asked, attended: Attended, label_QT: F32) -> None:
        """A pass whose outcomes are known, before ranking learns from it."""
        if self.retrieval:
            self.retrieval.learn(attended, self._received(seen, asked, np.ones(len(seen), bool)))
        if self.cascading:
            self.cascading.learn(seen, asked, attended, label_QT)

    def _received(self, seen: Exposures, asked: Asked, which: Bool) -> Received:
        at = np.flatnonzero(which & (seen.labels[:, self._task] > 0.5))
        return Received(seen.number[at], seen.user[at], seen.item[at], at, asked.query_of_exposure[at])

    def _measure_through(
        self, cascading: Cascading, seen: Exposures, attended: Attended, received: Received, step: int
    ) -> None:
        """All stages on end for a few positive events, from retrieval's candidates; from drawn ones where there is none."""
        received = received.pick(cascading.is_measured(received.number))
        if not len(received.number):
            return
        if self.retrieval is None:
            items, number = cascading.drawn(seen, received.exposure, 2 * cascading.config.given)
            cascading.measure(received.number, cascading.try_out(seen, received.exposure, items, number), {})
        elif len(self.retrieval.items):
            self._measure_found(self.retrieval, cascading, seen, attended, received, step)

    def _measure_found(
        self,
        retrieval: Retrieval,
        cascading: Cascading,
        seen: Exposures,
        attended: Attended,
        received: Received,
        step: int,
    ) -> None:
        asked, known = retrieval.asked(attended, received.query), retrieval.known(step)
        place = firsts(asked, known, retrieval.config.found)
        there = place >= 0
        number = np.where(there, retrieval.items.event[place], -1)
        items: U64 = np.where(there, retrieval.items.ids[place], 0).astype(np.uint64)
        popular: F64 = np.where(there, known.popular[place], -np.inf).astype(np.float64)
        orders = {
            "retrieval": -np.arange(place.shape[1], dtype=float) + np.zeros((len(place), 1)),
            "popularity": popular,
        }
        through = cascading.measure(received.number, cascading.try_out(seen, received.exposure, items, number), orders)
        target = retrieval.items.find(received.item)
        own = np.where((place == target[:, None]) & there, through, 0).max(1, initial=0)
        alone = ranks(asked, known, target)[1:]
        cascading.hits.add(received.number, target < 0, np.concatenate([own[None], alone]))

    def result(self) -> dict[str, Any]:
        """For result.json."""
        return {name: getattr(self, name).result() for name in self.names}

    def window(self) -> dict[str, Any]:
        """For metrics.jsonl, since the last call."""
        return {name: getattr(self, name).window() for name in self.names}

    def save(self) -> Saved:
        """What a cut keeps."""
        states = {name: getattr(self, name).state() for name in self.names}
        tensors = {name: state[0] for name, state in states.items()}
        numbers = {name: state[1] for name, state in states.items()}
        files: dict[str, bytes] = {}
        if self.retrieval:
            vectors = self.retrieval.item_vectors(np.arange(len(self.retrieval.items)))
            files[FILE] = index_bytes(build_index(self.retrieval.config, vectors))
            numbers["retrieval"]["index"] = digest_of(files[FILE])
        return Saved(tensors, numbers, files)

    def load(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """Take up where a cut was made."""
        for name in self.names:
            getattr(self, name).load(tensors[name], numbers[name])
