"""Age of memory: each event of the last fifth scored with the rows it read, and with the same rows made anew that moment.

The stream is trained anew in a scratch folder, so both scores are those of the weights that the event met: what differs is
only by which weights its history's states were made.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from marm.engine.batches import Asked
from marm.engine.engine import Attended, Engine, Share
from marm.engine.exposures import Exposures
from marm.engine.fresh import engine_beside, fresh_states, newest_of, rows_needed
from marm.files import write_text
from marm.metrics.ranking import auc, gauc
from marm.nn.dense import steady_rows
from marm.report.age import age_page
from marm.train.replay import begun
from marm.train.results import commit, config_hash, machine
from marm.types import F32, F64, I64, U64

PARTS = 5
"""Ages are told in as many parts of equal size."""


@dataclass
class _Seen:
    """What was noted of scored exposures."""

    user: list[U64] = field(default_factory=list)
    age: list[F64] = field(default_factory=list)
    label: list[F32] = field(default_factory=list)
    remembered: list[F32] = field(default_factory=list)
    fresh: list[F32] = field(default_factory=list)


class _Watch:
    """Scores one pass in ``every`` of the trainer a second time, over states made anew."""

    def __init__(self, engine: Engine, binary: I64, every: int) -> None:
        self.seen, self._engine, self._binary, self._every, self._passes = _Seen(), engine, binary, every, 0
        self._other = engine_beside(engine, engine.run.memory.hot)
        self._admissions = 0

    def __call__(self, seen: Exposures, asked: Asked, attended: Attended, which: np.ndarray) -> None:
        """A pass, before anything is learned from it; ``which`` queries are scored by it."""
        self._passes += 1
        if (self._passes - 1) % self._every:
            return
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


def memory_age(folder: Path, progress: Callable[[dict[str, Any]], None], every: int = 1) -> dict[str, Any]:
    """GAUC and drift of scores by the age of the rows read, over a run's last fifth, also written to its folder.

    ``every``: one pass in so many is measured. ``age.json`` and ``age.html``; the drift is in log odds, fresh minus remembered.
    """
    with TemporaryDirectory(prefix="marm-") as scratch, begun(folder, Path(scratch) / "trunk", progress) as trainer:
        names = [name for name, kind in trainer.kinds.items() if kind == "binary"]
        binary = np.array([list(trainer.kinds).index(name) for name in names])
        watch = _Watch(trainer.engine, binary, every)
        trainer.stepper.watch = watch
        trainer.run_until(len(trainer.log), progress)
        found: dict[str, Any] = {
            "tasks": {name: _table(watch.seen, t) for t, name in enumerate(names)},
            "steps": trainer.stepper.steps,
            "commit": commit(),
            "config_hash": config_hash(trainer.run),
            "seed": trainer.run.train.seed,
            "machine": machine(),
        }
    write_text(folder / "age.json", json.dumps(found, indent=1))
    age_page(folder, found["tasks"])
    return found


def _table(seen: _Seen, task: int) -> list[dict[str, Any]]:
    """All events that read a state, then these in parts by the mean age of what they read."""
    user, age = np.concatenate(seen.user), np.concatenate(seen.age)
    label, old, new = (np.concatenate(c)[:, task] for c in (seen.label, seen.remembered, seen.fresh))
    here = np.isfinite(age)
    bounds = np.quantile(age[here], np.linspace(0, 1, PARTS + 1)) if here.any() else np.zeros(2)
    part = np.searchsorted(bounds[1:-1], age, side="right")
    masks = [here, *(here & (part == number) for number in range(PARTS))]
    return [_line(user[m], age[m], label[m], old[m], new[m]) for m in masks if m.any()]


def _line(user: U64, age: F64, label: F32, old: F32, new: F32) -> dict[str, Any]:
    return {
        "events": len(user),
        "age_steps": float(age.mean()),
        "gauc_remembered": gauc(user, old, label).value,
        "gauc_fresh": gauc(user, new, label).value,
        "auc_remembered": auc(old, label),
        "auc_fresh": auc(new, label),
        "drift": float(np.abs(new - old).mean()),
        "drift_mean": float((new - old).mean()),
    }
