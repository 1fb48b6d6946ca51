"""What users did since the cut: served events by user, as exposures that run live before the candidates of a request."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.data.events import Column, Tags
from marm.data.live import LiveLog, Row
from marm.data.place import Mark, Place
from marm.data.plan import outcome_columns
from marm.data.rows import LABELS
from marm.data.seen import LastSeen
from marm.data.stream import EventLog
from marm.data.told import Told as Items
from marm.engine.exposures import Exposures, join
from marm.engine.live import newest
from marm.model.outcomes import OutcomeCodes
from marm.train.asked import as_column
from marm.types import I64

NEVER = np.iinfo(np.int64).max
"""When an outcome is known of which nothing was heard yet."""


@dataclass(frozen=True, eq=False)
class Told:
    """An event that was served; replaced when outcomes follow."""

    place: Place
    """Where it stands in the inbox or topic."""
    row: Row
    seen: Exposures
    """Of one or more events; this one is at ``at``."""
    at: int

    @property
    def time(self) -> int:
        """Microseconds."""
        return int(self.seen.time[self.at])

    @property
    def user(self) -> int:
        """Its hash."""
        return int(self.seen.user[self.at])


class Reader:
    """Served rows as exposures, by the code that prepared the log."""

    def __init__(self, run: RunConfig, log: EventLog, live: LiveLog, items: Callable[[], Items]) -> None:
        """``items``: as they are known now."""
        self.run, self.log, self.live, self._items = run, log, live, items
        self.outcomes = {column for _, column in outcome_columns(run)}
        """Columns that become known after the exposure."""
        self._codes = OutcomeCodes(run.tasks, run.model.outcomes)
        self._last = LastSeen(log)
        delay = run.data.feedback_delay
        self._delay = delay if isinstance(delay, str) else None
        self._hidden = run.data.history is not None

    def read(self, rows: Sequence[Row]) -> tuple[Exposures, I64, dict[int, str]]:
        """Exposures, the row that each is, and of the rows that cannot be read why; ``data.where`` may drop some too."""
        bad: dict[int, str] = {}
        filled = rows
        if self._delay is not None:
            filled = [row._replace(values={self._delay: 0, **row.values}) for row in rows]

        def refuse(row: int, reason: str) -> None:
            bad.setdefault(row, reason)

        frame, _ = self.live.convert(self.live.served(filled, refuse), 0, refuse)
        frame = self._last.fill(frame, self._items().logged)
        which = frame["row"].to_numpy()
        return self._exposures(frame, [rows[at] for at in which.tolist()]), which, bad

    def _exposures(self, frame: pl.DataFrame, rows: Sequence[Row]) -> Exposures:
        groups: dict[str, dict[str, Column]] = {"item": {}, "user": {}, "context": {}}
        for group, columns in groups.items():
            for name in self.log.manifest.columns[group]:
                columns[name] = as_column(frame[f"{group}.{name}"])
        known = frame["known"].to_numpy()
        if not self._hidden:
            heard = np.array([not self.outcomes.isdisjoint(row.values) for row in rows], np.bool_)
            known = np.where(heard, known, NEVER)
        items = [column for column in groups["item"].values() if not isinstance(column, Tags)]
        labels = np.ascontiguousarray(frame[LABELS].to_numpy()).reshape(len(frame), len(self.run.tasks))
        return Exposures(
            number=np.zeros(len(frame), np.int64),
            user=frame["user"].to_numpy(),
            item=frame["item"].to_numpy(),
            time=frame["time"].to_numpy(),
            known=known,
            history=frame["history"].to_numpy().astype(bool),
            outcome=self._codes.encode(labels),
            labels=labels,
            item_columns=np.stack(items, 1).astype(np.uint64) if items else np.zeros((len(frame), 0), np.uint64),
            user_columns=groups["user"],
            context=groups["context"],
        )


class Tails:
    """Served events of each user in order of time; one thread adds, one prunes, others look.

    A user's events are replaced whole: who looks needs no lock.
    """

    def __init__(self, run: RunConfig) -> None:
        self.most, self.live, self.hidden = run.serve.tail, run.train.live, run.data.history is not None
        self._users: dict[int, tuple[Told, ...]] = {}
        self._joined: dict[int, tuple[tuple[Told, ...], Exposures]] = {}
        self._replacing = Lock()

    def __len__(self) -> int:
        return sum(map(len, self._users.values()))

    def add(self, told: Told) -> None:
        """Put an event in its place; beyond ``serve.tail`` of a user the oldest goes."""
        with self._replacing:
            held = self._users.get(told.user, ())
            at = len(held)
            while at and held[at - 1].time > told.time:
                at -= 1
            self._users[told.user] = (*held[:at], told, *held[at:])[-self.most :]

    def take_over(self, other: "Tails") -> None:
        """Hold what another one holds."""
        with self._replacing:
            self._users, self._joined = other._users, other._joined

    def of_user(self, user: int) -> tuple[Told, ...]:
        """All that is kept of a user, oldest first."""
        return self._users.get(user, ())

    def users(self) -> dict[int, Any]:
        """Every user who has events here, as whoever told of them named it."""
        return {user: held[-1].row.user for user, held in list(self._users.items()) if held}

    def find(self, user: int, event_id: str) -> Told | None:
        """A user's event by its id."""
        return next((told for told in self._users.get(user, ()) if told.row.event_id == event_id), None)

    def amend(self, old: Told, new: Told) -> None:
        """Replace an event by what it is now that outcomes followed."""
        with self._replacing:
            held = self._users.get(old.user, ())
            self._users[old.user] = tuple(new if told is old else told for told in held)

    def prune(self, since: Mark, learned: Collection[str]) -> None:
        """Let go of what a cut holds."""
        for user in list(self._users):
            # One at a time, as events are told meanwhile.
            with self._replacing:
                self._prune(user, since, learned)

    def _prune(self, user: int, since: Mark, learned: Collection[str]) -> None:
        left = tuple(told for told in self._users.get(user, ()) if after(told, since, learned))
        if left:
            self._users[user] = left
        else:
            self._users.pop(user, None)
            self._joined.pop(user, None)

    def last_time(self, user: int) -> int | None:
        """Time of a user's newest event, in microseconds."""
        held = self._users.get(user)
        return held[-1].time if held else None

    def of(
        self, user: int, at: int, since: Mark, learned: Collection[str], waiting: Exposures | None
    ) -> Exposures | None:
        """The live tail of a user at a time for a cut: the newest ``train.live`` events that the cut has not in memory."""
        held = tuple(told for told in self._users.get(user, ()) if after(told, since, learned))
        joined = self._join(user, held)
        if waiting is not None:
            mine = np.flatnonzero(waiting.user == np.uint64(user))
            if len(mine):
                joined = join(waiting.pick(mine), joined) if joined else waiting.pick(mine)
        if joined is None:
            return None
        key, asked = np.array([user], np.uint64), np.array([at])
        known = np.maximum.accumulate(joined.known) if self.hidden else joined.known
        _, place = newest(joined.user, joined.time, known, joined.history, key, asked, self.hidden, self.live)
        return joined.pick(place) if len(place) else None

    def _join(self, user: int, held: tuple[Told, ...]) -> Exposures | None:
        if not held:
            return None
        cached = self._joined.get(user)
        if cached is None or cached[0] != held:
            cached = (held, reduce(join, [told.seen.pick(np.array([told.at])) for told in held]))
            self._joined[user] = cached
        return cached[1]


def after(told: Told, since: Mark, learned: Collection[str]) -> bool:
    """Whether an event came after a cut: it is not in its memory."""
    return not since.holds(told.place) and told.row.event_id not in learned


def row_of(record: dict[str, Any]) -> Row:
    """A line of the inbox, parsed, as a row."""
    values = {**record.get("context", {}), **record.get("outcomes", {})}
    return Row(str(record["event_id"]), record["user"], record["item"], record["at"], values)
