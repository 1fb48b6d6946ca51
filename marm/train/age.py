"""Age of memory: each event of the last fifth scored with the rows it read, and with the same rows made anew that moment.

The stream is trained anew in a scratch folder, so both scores are those of the weights that the event met: what differs is
only by which weights its history's states were made.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch

from marm.config import RunConfig
from marm.data.stream import EventLog
from marm.engine.batches import Asked
from marm.engine.engine import Attended, Engine, Share
from marm.engine.exposures import Exposures
from marm.engine.fresh import engine_beside, fresh_states, newest_of, rows_needed
from marm.files import replacing
from marm.nn.dense import steady_rows
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
        self._other = engine_beside(engine, engine.run.memory.hot)
        self._admissions = 0

    def __call__(self, seen: Exposures, asked: Asked, attended: Attended, which: np.ndarray) -> None:
        """A pass, before anything is learned from it; ``which`` queries are scored by it."""
        which = which & (asked.drawn_from < 0)
        age = self._ages(attended)
        self._make(np.unique(asked.batch.users))
        with torch.no_grad():
            fresh = self._other.attend(asked.batch).logit_QT
        self._other.memory.forget()
        exposure = asked.exposure[which]
        self.seen.user.append(seen.user[exposure])
        self.seen.age.append(age[which])
        self.seen.label.append(seen.labels[exposure][:, self._binary])
        for logits, into in ((attended.logit_QT, self.seen.remembered), (fresh, self.seen.fresh)):
            into.append(logits.detach().float().cpu().numpy()[which][:, self._binary])

    def _ages(self, attended: Attended) -> F64:
        """Mean steps since the states that each query reads were made (Q,); NaN where it reads none."""
        total, rows = (np.zeros(len(attended.logit_QT)) for _ in range(2))
        for share in attended.shares:
            total[share.queries], rows[share.queries] = self._read_by(share)
        mean: F64 = np.divide(total, rows, out=np.full(len(total), np.nan), where=rows > 0)
        return mean

    def _read_by(self, share: Share) -> tuple[F64, F64]:
        """Of what a share's queries read, in layers that read states: steps since it was made, summed, and rows."""
        recalled, queries, now = share.recalled, len(share.queries), self._engine.version
        owner = np.repeat(np.arange(len(recalled.counts)), recalled.counts)
        age = now - recalled.facts["version"].astype(np.int64)
        total, rows = (
            np.bincount(owner, each, len(recalled.counts)).astype(np.float64)[share.batch.segment]
            for each in (age * recalled.there, recalled.there.astype(np.float64))
        )
        if share.search:
            layers, (query, version, there) = share.search.deep, share.search.versions()
            total = total * layers + np.bincount(query, (now - version) * there, queries)
            rows = rows * layers + np.bincount(query, there.astype(np.float64), queries)
        return total, rows

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
            made = fresh_states(self._engine, counts, facts)
        if shape.keys:
            facts["keys"] = made.keys
        kept = np.minimum(counts, shape.capacity)
        newest = newest_of(counts, kept)
        hot = self._other.memory.hot
        hot.write(at[here], np.zeros_like(kept), kept, facts[newest], made.states[torch.from_numpy(newest)])
        # A row that had no state to be read shall have none here either.
        hot.states_from[at[here]] = kept - np.minimum(rows[here], kept)


def score_both_ways(run: RunConfig, log: EventLog, out: Path, progress: Progress) -> None:
    """Score a stream's last fifth by remembered states and by fresh ones; leaves a row for each event at ``out``, Parquet.

    Columns: user (hash), age (mean steps since the rows read were made, NaN where none had a state), and for each binary
    task its label and both log odds.
    """
    with TemporaryDirectory(prefix="marm-") as scratch, begun(run, log, Path(scratch) / "trunk", progress) as trainer:
        names = [name for name, kind in trainer.kinds.items() if kind == "binary"]
        watch = _Watch(trainer.engine, np.array([list(trainer.kinds).index(name) for name in names]))
        trainer.stepper.watch = watch
        trainer.run_until(len(log), progress)
    frame = watch.seen.frame(names)
    with replacing(out) as beside:
        frame.write_parquet(beside)
