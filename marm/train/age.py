"""Age of memory: each event of the last fifth scored with the rows it read, and with the same rows made anew that moment.

The stream is trained anew in a scratch folder, so both scores are those of the weights that the event met: what differs is
only by which weights its history's states were made.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.engine.batches import Asked
from marm.engine.engine import Attended, Engine
from marm.engine.exposures import Exposures
from marm.engine.fresh import check_fresh, fresh_states, newest_of, rows_needed
from marm.files import replacing
from marm.memory.memory import Memory
from marm.nn.dense import steady_rows
from marm.store import ArenaStore
from marm.train.replay import begun
from marm.train.trainer import Progress
from marm.types import F32, F64, I64, U64


@dataclass
class _Seen:
    """What was noted of scored exposures."""

    user: list[U64] = field(default_factory=list)
    age: list[F64] = field(default_factory=list)
    label: list[F32] = field(default_factory=list)
    remembered: list[F32] = field(default_factory=list)
    fresh: list[F32] = field(default_factory=list)

    def frame(self, tasks: list[str]) -> pl.DataFrame:
        """A row for each exposure."""
        columns: dict[str, np.ndarray] = {"user": np.concatenate(self.user), "age": np.concatenate(self.age)}
        for name in ("label", "remembered", "fresh"):
            values = np.concatenate(getattr(self, name))
            columns |= {f"{name}_{task}": values[:, t] for t, task in enumerate(tasks)}
        return pl.DataFrame(columns)


class _Watch:
    """Scores every pass of the trainer a second time, over states made anew."""

    def __init__(self, engine: Engine, binary: I64) -> None:
        self.seen, self._engine, self._binary = _Seen(), engine, binary
        shape = engine.memory.shape
        config = engine.run.memory.model_copy(update={"max_age": 0, "max_age_seconds": 0.0, "ttl": 0.0})
        self._other = copy.copy(engine)
        self._other.memory = Memory(ArenaStore(engine.memory.store.layout), shape, config, engine.memory.hot.device)
        self._admissions = 0

    def __call__(self, seen: Exposures, asked: Asked, attended: Attended, which: np.ndarray) -> None:
        """A pass, before anything is learned from it; ``which`` queries are scored by it."""
        which = which & (asked.drawn_from < 0)
        age = self._ages(asked, attended)
        self._make(np.unique(asked.batch.users))
        with torch.no_grad():
            fresh = self._other.attend(asked.batch).logit_QT
        self._other.memory.forget()
        exposure = asked.exposure[which]
        self.seen.user.append(seen.user[exposure])
        self.seen.age.append(age[asked.batch.segment][which])
        self.seen.label.append(seen.labels[exposure][:, self._binary])
        for logits, into in ((attended.logit_QT, self.seen.remembered), (fresh, self.seen.fresh)):
            into.append(logits.detach().float().cpu().numpy()[which][:, self._binary])

    def _ages(self, asked: Asked, attended: Attended) -> F64:
        """Mean steps since the states that each segment reads were made (B,); NaN where it reads none."""
        out = np.full(len(asked.batch.users), np.nan)
        place = {user: at for at, user in enumerate(asked.batch.users.tolist())}
        for share in attended.shares:
            recalled = share.recalled
            age = (self._engine.version - recalled.facts["version"].astype(np.int64)) * recalled.there
            begin = np.concatenate([[0], np.cumsum(recalled.counts)[:-1]])
            some = recalled.counts > 0
            total, rows = np.zeros(len(some)), np.zeros(len(some))
            if some.any():
                total[some] = np.add.reduceat(age, begin[some])
                rows[some] = np.add.reduceat(recalled.there.astype(np.int64), begin[some])
            mean = np.divide(total, rows, out=np.full(len(some), np.nan), where=rows > 0)
            out[[place[user] for user in share.batch.users.tolist()]] = mean
        return out

    def _make(self, users: U64) -> None:
        """Give the other memory these users' rows, with states by the weights of this moment."""
        memory, shape = self._engine.memory, self._engine.memory.shape
        rows, _ = memory.oldest(users)
        needed = rows_needed(self._engine, np.full(len(users), shape.capacity))
        counts, facts = memory.past(users, needed)
        self._admissions += 1
        at = self._other.memory.hot.admit(users, self._admissions)
        here = counts > 0
        if not here.any():
            return
        counts = counts[here]
        with steady_rows():
            states = fresh_states(self._engine, counts, facts)
        kept = np.minimum(counts, shape.capacity)
        newest = newest_of(counts, kept)
        hot = self._other.memory.hot
        hot.write(at[here], np.zeros_like(kept), kept, facts[newest], states[torch.from_numpy(newest)])
        # A row that had no state to be read shall have none here either.
        hot.states_from[at[here]] = kept - np.minimum(rows[here], kept)


def score_both_ways(run: RunConfig, log: EventLog, out: Path, progress: Progress) -> None:
    """Score a stream's last fifth by remembered states and by fresh ones; leaves a row for each event at ``out``, Parquet.

    Columns: user (hash), age (mean steps since the rows read were made, NaN where none had a state), and for each binary
    task its label and both log odds. Errors: ``SettingError`` for a run whose states cannot be made anew.
    """
    check_fresh(run)
    with TemporaryDirectory(prefix="marm-") as scratch, begun(run, log, Path(scratch) / "trunk", progress) as trainer:
        names = [name for name, kind in trainer.kinds.items() if kind == "binary"]
        watch = _Watch(trainer.engine, np.array([list(trainer.kinds).index(name) for name in names]))
        trainer.stepper.watch = watch
        trainer.run_until(len(log), progress)
    frame = watch.seen.frame(names)
    with replacing(out) as beside:
        frame.write_parquet(beside)
