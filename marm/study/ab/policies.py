"""What an arm shows, and how it learns from what came of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from marm.errors import SettingError
from marm.metrics.progressive import summarise
from marm.stages.rivals import Popularity
from marm.study.ab.arms import Arm
from marm.study.ab.learning import Learning
from marm.study.ab.pipeline import Pipeline
from marm.train.trainer import Progress
from marm.types import I32, I64
from marm.world import World, slates
from marm.world.outcomes import Intercepts
from marm.world.visits import Audience

_NEWEST = 10_000
"""Clicks that popularity counts, as retrieval's does."""
_RANDOM = 7
"""Purpose of the random policy's luck."""


class Policy(Protocol):
    """Chooses slates; all users of a tick at once."""

    def slates(self, people: Audience, rows: I64, at: I64, count: int) -> I32:
        """Items (Q, count) for the users of ``rows`` at times in milliseconds; -1 where there is none."""
        ...

    def learn(self, seen: pl.DataFrame) -> None:
        """Take in what the arm's users saw and did, in the columns of the log."""
        ...


class Unlearned:
    """The app's own feed, anything, or the best by the true chances."""

    def __init__(self, name: str, world: World, base: Intercepts) -> None:
        self._name, self._world, self._base = name, world, base

    def slates(self, people: Audience, rows: I64, at: I64, count: int) -> I32:
        """As its name says."""
        states = people.states
        if self._name == "feed":
            return slates.feed(self._world, states, rows, at, count)
        if self._name == "random":
            return slates.drawn(self._world, states, rows, at, count, _RANDOM)
        return slates.best(self._world, self._base, states, rows, at, count)

    def learn(self, seen: pl.DataFrame) -> None:
        """Nothing."""


class Popular:
    """What was clicked most of late, without what the user was just shown."""

    def __init__(self, items: int) -> None:
        self._clicks, self._newest = Popularity(_NEWEST), np.zeros(items, np.int64)
        self._clicks.grow(items)
        self._events = 0

    def slates(self, people: Audience, rows: I64, at: I64, count: int) -> I32:
        """The first that were not shown of late."""
        order = np.argsort(-self._clicks.scores(self._newest), kind="stable")
        return slates.firsts(people.states, rows, order[None], count)

    def learn(self, seen: pl.DataFrame) -> None:
        """Count clicks."""
        items = seen["item"].to_numpy().astype(np.int64)
        self._newest[items] = self._events + np.arange(len(items))
        self._events += len(items)
        self._clicks.add(items[seen["click"].to_numpy() == 1])


class Models:
    """Retrieval, cascading and ranking by models that learn from the arm's own stream."""

    def __init__(self, arm: Arm, folder: Path, world: World, before: pl.DataFrame, tell: Progress) -> None:
        """Train on what the arm's users saw ``before``. Errors: ``SettingError`` where that is nothing."""
        if before.is_empty():
            raise SettingError("--before: nobody came: give more days of the app's own feed, or more users")
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "before.parquet").resolve()
        before.write_parquet(log)
        runs = [run.model_copy(update={"data": run.data.model_copy(update={"log": str(log)})}) for run in arm.models]
        self.learnings: Sequence[Learning] = [
            Learning(run, folder / stage, tell) for run, stage in zip(runs, ("ranking", "retrieval"), strict=False)
        ]
        config = world.config
        self._pipeline = Pipeline(self.learnings[0], self.learnings[-1], config.items, config.users)

    def slates(self, people: Audience, rows: I64, at: I64, count: int) -> I32:
        """What the pipeline gives, nothing of it shown of late."""
        users, shown = people.states.user[rows], people.states.shown[rows]
        return self._pipeline.slates(users, at, shown, count).astype(np.int32)

    def learn(self, seen: pl.DataFrame) -> None:
        """Every model of the arm learns."""
        for learning in self.learnings:
            learning.learn(seen)

    def gauc(self, task: str) -> float | None:
        """Of ranking during the test: each slate is scored again before it is learned from."""
        ranking = self.learnings[0]
        spool = ranking.trainer.spool
        if len(spool) == ranking.began:
            return None
        told = summarise(spool, ranking.trainer.kinds, ranking.began, len(spool))[task]["gauc"]
        return None if told is None else float(told)

    def close(self) -> None:
        """Give back files and memory."""
        for learning in self.learnings:
            learning.close()


def popularity_of(world: World, before: pl.DataFrame) -> Popular:
    """Popularity that has seen what was before."""
    policy = Popular(world.config.items)
    policy.learn(before)
    return policy
