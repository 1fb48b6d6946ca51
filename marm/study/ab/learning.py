"""One model of an arm: trained on what the arm's users saw before the test, then learning on from each tick of it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.config import RunConfig
from marm.data.grow import MERGE_AT, Grower
from marm.data.live import LiveLog
from marm.data.order import ordered
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.engine.batch import Batch
from marm.engine.engine import Attended
from marm.engine.live import with_tails
from marm.errors import DataError
from marm.stages import Stages
from marm.train.asked import chunk_of, features_of
from marm.train.run import quiet
from marm.train.setup import build, set_threads
from marm.train.trainer import Progress, Trainer
from marm.types import I64, U64


class Learning:
    """A trainer that answers between its steps, with its weights and memory as they are."""

    def __init__(self, run: RunConfig, folder: Path, tell: Progress) -> None:
        """Train on the log of ``run`` into a new folder."""
        folder.mkdir(parents=True)
        threads = set_threads(run)
        prepare(run, folder / "events")
        self.log = EventLog(folder / "events")
        self.trainer = Trainer(run, folder, self.log, build(run, self.log, folder, threads), threads)
        self.run, self.engine = run, self.trainer.engine
        self.trainer.start()
        self.trainer.run_to_end(partial(_tell, tell))
        self.began = len(self.trainer.spool)
        """Scored before the test."""
        self._live, self._grower = LiveLog(run, folder / "events"), Grower(folder / "events")

    @property
    def stages(self) -> Stages:
        """Its stages; an arm has retrieval at least."""
        assert self.trainer.stages is not None
        return self.trainer.stages

    def close(self) -> None:
        """Give back files and memory."""
        self._grower.close()
        self.trainer.close()

    def learn(self, seen: pl.DataFrame) -> None:
        """Append what was seen, in the log's columns, to the stream, and learn it."""
        first = self._grower.manifest.log_rows
        block, _ = self._live.convert(self._live.filed(seen, "the loop"), first, _refuse)
        block = ordered(block.sort("time", maintain_order=True))
        self._grower.append([block], {"until": int(block["time"][-1])}, log_rows=first + block.height)
        if len(self._grower.manifest.growth.parts) >= MERGE_AT:
            self._grower.merge(self.trainer.position)
        self.log.refresh()
        while self.trainer.go_on(quiet):
            pass

    def attend(self, users: U64, at: I64, items: U64) -> tuple[Attended, I64]:
        """Score items (Q, C) for users (each once) at times in microseconds; and the queries that they are (Q x C,)."""
        self.trainer.stepper.admit(users, self.trainer.cut)
        batch, places = self._with_waiting(self._batch(users, at, items))
        return self.engine.attend(batch), places

    def _batch(self, users: U64, at: I64, items: U64) -> Batch:
        segment = np.repeat(np.arange(len(users)), items.shape[1])
        hours = chunk_of(pl.DataFrame({"hour": (at // 3_600_000_000 % 24).astype(np.uint8)[segment]}), "the loop")
        ids = items.reshape(-1)
        return Batch(
            users=users,
            user_columns={},
            since=at,
            segment=segment,
            item=ids,
            item_columns=np.zeros((len(ids), len(self.log.manifest.columns["item"])), np.uint64),
            time=at[segment],
            context=features_of(hours, self.run, "context", self.log),
            live=np.zeros(len(ids), bool),
            known=at[segment],
            outcome=np.zeros(len(ids), np.int16),
        )

    def _with_waiting(self, batch: Batch) -> tuple[Batch, I64]:
        """With what waits to be learned from live before it, where segments are gathered."""
        waiting = self.trainer.stepper.waiting
        at = waiting.tail(batch.users, int(batch.since.min()))
        if waiting.held is None or not len(at):
            return batch, np.arange(len(batch))
        tail, order = waiting.held.pick(at), np.argsort(batch.users)
        return with_tails(batch, tail, order[np.searchsorted(batch.users[order], tail.user)])


def _tell(tell: Progress, told: dict[str, Any]) -> None:
    if "events" in told:
        text = f"training  {told['events']:,}/{told['total']:,} events"
        tell({"text": text, "share": told["events"] / told["total"]})


def _refuse(row: int, reason: str) -> None:
    raise DataError(f"the loop: row {row}: {reason}")
