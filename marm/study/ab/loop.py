"""The closed loop of one arm: who comes in a tick is served in one batch, watches, moves on; then the arm learns."""

import shutil
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.study.ab.arms import Arm
from marm.study.ab.policies import Models, Policy, Unlearned, popularity_of
from marm.train.trainer import Progress
from marm.types import I32, I64
from marm.world import World, slates
from marm.world.clock import START
from marm.world.outcomes import ACTIONS, Intercepts
from marm.world.tables import slates_table
from marm.world.visits import Audience, Seen, arrivals, audience, show

_DAY = 86_400_000
_HOUR = 3_600_000
_STRANGERS = 6
"""Purpose of the luck by which strangers are drawn."""


@dataclass(frozen=True)
class Span:
    """How long, how finely, and how many items a slate has."""

    before: float
    """Days of the app's own feed, from which models are first trained."""
    days: float
    tick: float
    """Seconds of the world's time in which all who come are served together."""
    slate: int = 6
    strangers: int = 1
    """Of them drawn from all items that are there: or nothing new would ever be found."""

    @property
    def begins(self) -> int:
        """Milliseconds at which the test begins."""
        return START + round(self.before * _DAY)

    @property
    def ends(self) -> int:
        """And ends."""
        return self.begins + round(self.days * _DAY)


@dataclass(frozen=True)
class Served:
    """What an arm's test came to."""

    users: pl.DataFrame
    """A row for each user, by number."""
    hours: pl.DataFrame
    """A row for each hour of the test."""
    figures: dict[str, Any]


class Tally:
    """Sums of each user, before and during the test, and of each hour of it."""

    def __init__(self, span: Span, users: I64) -> None:
        self._span, self._users = span, users
        self._sums = np.zeros((len(users), 6))
        self._before = np.zeros(len(users))
        self._days = np.zeros((len(users), -(-round(span.days * _DAY) // _DAY)), bool)
        self._last = np.zeros(len(users), bool)
        hours = -(-round(span.days * _DAY) // _HOUR)
        self._hours = np.zeros((hours, 2))
        self._active = np.zeros((len(users), hours), bool)

    def before(self, rows: I64, seen: Seen) -> None:
        """A tick before the test."""
        self._before[rows] += seen.seconds.sum(1)

    def add(self, rows: I64, at: I64, seen: Seen) -> None:
        """A tick of the test; a user stands in it once."""
        play = seen.seconds.sum(1)
        done = seen.done.sum(1, dtype=np.int64)
        liked = done[:, [ACTIONS.index(name) for name in ("like", "follow", "comment")]].sum(1)
        clicks, long = done[:, ACTIONS.index("click")], done[:, ACTIONS.index("long_view")]
        self._sums[rows] += np.stack([play, np.ones(len(rows)), clicks, long, liked, seen.left], 1)
        since = at - self._span.begins
        self._days[rows, since // _DAY] = True
        self._last[rows[at >= self._span.ends - (self._span.ends - self._span.begins) // 4]] = True
        hour = since // _HOUR
        np.add.at(self._hours, hour, np.stack([play, np.ones(len(rows))], 1))
        self._active[rows, hour] = True

    def users(self) -> pl.DataFrame:
        """A row for each user."""
        names = ("play_time", "slates", "clicks", "long_views", "interactions", "visits")
        sums = {name: self._sums[:, at] for at, name in enumerate(names)}
        here = {"days": self._days.sum(1), "returned": self._last.astype(float)}
        return pl.DataFrame({"user": self._users, "play_time_before": self._before, **sums, **here})

    def hours(self) -> pl.DataFrame:
        """A row for each hour of the test."""
        play, requests = self._hours.T
        return pl.DataFrame(
            {"hour": np.arange(len(play)), "play_time": play, "slates": requests, "active": self._active.sum(0)}
        )


class Loop:
    """One arm with its own users, its own stream and its own memory."""

    def __init__(self, world: World, base: Intercepts, arm: Arm, users: I64, span: Span, folder: Path) -> None:
        self.world, self.base, self.arm, self.span, self.folder = world, base, arm, span, folder
        self.people: Audience = audience(world, base, users)
        self.tally = Tally(span, users)

    def run(self, tell: Progress) -> Served:
        """All of it, before and during the test."""
        began = time.perf_counter()
        before = self._before(tell)
        trained = time.perf_counter()
        policy = self._policy(before, tell)
        started = time.perf_counter()
        with closing(policy) if isinstance(policy, Models) else nullcontext():
            slates_shown = self._test(policy, tell)
            took = time.perf_counter() - started
            figures = {
                "users": len(self.people.luck),
                "events_before": before.height,
                "slates_in_all": slates_shown,
                "seconds_before": round(trained - began, 2),
                "seconds_training": round(started - trained, 2),
                "seconds_test": round(took, 2),
                "slates_per_s": round(slates_shown / took, 1),
                "gauc": {task: policy.gauc(task) for task in ("click", "long_view")}
                if isinstance(policy, Models)
                else None,
            }
        # The streams are many times what they came to.
        shutil.rmtree(self.folder, ignore_errors=True)
        return Served(self.tally.users(), self.tally.hours(), figures)

    def _policy(self, before: pl.DataFrame, tell: Progress) -> Policy:
        if self.arm.policy == "models":
            return Models(self.arm, self.folder, self.world, before, tell)
        if self.arm.policy == "popularity":
            return popularity_of(self.world, before)
        return Unlearned(self.arm.policy, self.world, self.base)

    def _before(self, tell: Progress) -> pl.DataFrame:
        """What the arm's users saw of the app's own feed."""
        feed, parts = Unlearned("feed", self.world, self.base), []
        for begin, end in self._ticks(START, self.span.begins):
            rows, at, items, seen = self._tick(feed, begin, end)
            self.tally.before(rows, seen)
            parts.append(self._told(rows, at, items, seen))
            self._tell(tell, end)
        return pl.concat(parts)

    def _test(self, policy: Policy, tell: Progress) -> int:
        shown, since = 0, time.perf_counter()
        for begin, end in self._ticks(self.span.begins, self.span.ends):
            rows, at, items, seen = self._tick(policy, begin, end)
            if len(rows):
                self.tally.add(rows, at, seen)
                policy.learn(self._told(rows, at, items, seen))
                shown += len(rows)
            self._tell(tell, end, shown, since)
        return shown

    def _ticks(self, begin: int, end: int) -> list[tuple[int, int]]:
        step = round(self.span.tick * 1000)
        return [(low, min(low + step, end)) for low in range(begin, end, step)]

    def _tick(self, policy: Policy, begin: int, end: int) -> tuple[I64, I64, I32, Seen]:
        """Serve all who come: rows, times, slates, and what came of them."""
        rows, at = arrivals(self.people, begin, end)
        count, states = self.span.slate, self.people.states
        strangers = slates.drawn(self.world, states, rows, at, count, _STRANGERS)
        chosen = policy.slates(self.people, rows, at, count) if len(rows) else strangers
        items = slates.mixed(chosen, strangers, self.span.strangers)
        return rows, at, items, show(self.world, self.base, self.people, rows, at, items)

    def _told(self, rows: I64, at: I64, items: I32, seen: Seen) -> pl.DataFrame:
        """In the log's columns, in the order of time."""
        return slates_table(self.world, self.people.states.user[rows], at, items, seen.done, seen.ratio)

    def _tell(self, tell: Progress, now: int, slates: int = 0, since: float = 0.0) -> None:
        days = (now - START) / _DAY
        text = f"day {days:.2f} of {self.span.before + self.span.days:g}"
        if slates:
            text += f"  {slates:,} slates  {slates / (time.perf_counter() - since):,.0f}/s"
        tell({"text": text, "share": (now - START) / (self.span.ends - START)})
