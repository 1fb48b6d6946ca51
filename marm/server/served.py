"""A cut that answers: its weights, its store as of it, and where what came since begins."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from marm.config import RunConfig
from marm.data.place import START, mark_of
from marm.data.told import Told
from marm.engine.batch import Batch
from marm.engine.engine import Attended
from marm.engine.exposures import Exposures, from_events, join
from marm.engine.heed import Heeded
from marm.errors import MarmError
from marm.model.outcomes import OutcomeCodes
from marm.server.ahead import Ahead
from marm.server.guard import AtHand, Guard
from marm.server.naming import IndexNames
from marm.stages import Ready
from marm.store import Store, is_remote, open_store
from marm.train.cut import Cut
from marm.train.score import Scorer, open_stages
from marm.train.setup import Wrap, Wraps
from marm.types import F32, U64


class Served:
    """Opened beside the one before, and swapped in whole."""

    def __init__(
        self,
        folder: Path,
        run: RunConfig,
        at_hand: AtHand,
        on_failure: Callable[[], None],
        names: IndexNames,
        told: Told,
        below: Wrap,
    ) -> None:
        """``below``: what stands right before the store; ``told``: items as they are known.

        Errors: ``MarmError`` where the folder's newest cut cannot be opened.
        """
        above = partial(_guarded, folder, run, at_hand, on_failure, below)
        self.scorer = Scorer(folder, run, Wraps(below, above), told, run.serve.hot)
        guard = self.scorer.parts.store
        assert isinstance(guard, Guard)
        self.guard = guard
        if is_remote(run.memory.url):
            guard.ahead = Ahead(run.serve.queue + run.serve.together, self.room, guard.layout.states_kept)
        self.number, self._shown = self.scorer.cut, told
        cut, log = Cut(folder, self.number), self.scorer.log
        state = cut.state
        self.written = (cut.path / "state.json").stat().st_mtime
        """Unix time at which the cut was made."""
        self.since = mark_of(state.get("inbox", START))
        """Of the inbox or topic, everything before it is in this cut."""
        self.learned = frozenset(log.ids_beyond(state["position"]))
        """Of what came after that, what is in this cut all the same."""
        self.steps = state["steps"]
        self.waiting = _waiting(self.scorer, state)
        """Exposures that this cut has scored and not remembered yet."""
        self.ready = self._open_stages(folder) if run.stages.any else None
        """The stages before ranking, where they were trained."""
        self.names = names
        if self.ready and self.ready.retrieval:
            names.learn(log, self.ready.items, self.ready.retrieval.items.event, told.names)

    @property
    def room(self) -> int:
        """Users that hot memory has room for, and so the most that one pass may be about."""
        return self.scorer.engine.memory.hot.slots

    def _open_stages(self, folder: Path) -> Ready:
        try:
            return open_stages(self.scorer, folder)
        except MarmError:
            self.scorer.close()
            raise

    def show_items(self, told: Told) -> None:
        """Take items as they are known now; what it shows already costs nothing."""
        if told is not self._shown:
            self.scorer.engine.show_items(told)
            self._shown = told

    def attend(self, batch: Batch) -> tuple[F32, dict[int, str]]:
        """Predictions (Q, T), and of the users that could not be read whether raw history stood in (``raw``, ``none``)."""
        return self.scorer.attend(batch), self._failed(batch)

    def look(self, batch: Batch) -> tuple[Attended, dict[int, str]]:
        """The same pass as the stages see it: rows, states and embeddings."""
        return self.scorer.look(batch), self._failed(batch)

    def items_of(self, user: int, at: int) -> U64:
        """Items of a user's remembered events before a time, as many as the store holds facts of."""
        shape = self.scorer.engine.memory.shape
        users = np.array([user], np.uint64)
        found = self.guard.read_facts(users, self.scorer.run.memory.facts, np.array([at]))
        items: U64 = found.facts.view(shape.facts).reshape(-1)["item"]
        return items

    def heed(self, batch: Batch, query: int) -> tuple[Heeded, F32, dict[int, str]]:
        """What one query of a batch of one user attends to, its predictions (T,), and users as ``attend`` has them."""
        return *self.scorer.heed(batch, query), self._failed(batch)

    def _failed(self, batch: Batch) -> dict[int, str]:
        failed = {user: level for user in batch.users.tolist() if (level := self.guard.failed.pop(user, None))}
        if failed:
            self._forget(np.array(list(failed), np.uint64))
        return failed

    def _forget(self, users: U64) -> None:
        """Let go of what was made up, so that the next request reads anew."""
        hot = self.scorer.engine.memory.hot
        at = hot.map.find(users)
        hot.release(at[at >= 0])

    def close(self) -> None:
        """Give back the store."""
        self.scorer.close()


def _guarded(
    folder: Path, run: RunConfig, at_hand: AtHand, on_failure: Callable[[], None], below: Wrap, store: Store
) -> Guard:
    def reopen() -> Store:
        return below(open_store(run.memory.url, store.layout, folder, readonly=True))

    return Guard(store, at_hand, reopen, on_failure)


def _waiting(scorer: Scorer, state: dict[str, list[int]]) -> Exposures | None:
    codes = OutcomeCodes(scorer.run.tasks, scorer.run.model.outcomes)
    out: Exposures | None = None
    for number, remembered in zip(state["waiting"], state["waiting_remembered"], strict=True):
        if not remembered:
            events = scorer.log.read(number, number + 1)
            one = from_events(events, codes.encode(events.labels))
            out = join(out, one) if out else one
    return out
