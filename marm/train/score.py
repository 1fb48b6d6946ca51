"""Scoring with a trained run: any items for a user at a time, nothing learned and nothing written."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
from polars.exceptions import PolarsError

from marm.config import RunConfig
from marm.data.columns import How, convert
from marm.data.events import Column
from marm.data.formats import scan, sink, written_as
from marm.data.seen import LastSeen
from marm.data.source import unreadable
from marm.data.stream import EventLog
from marm.data.told import Told
from marm.data.trouble import Chunk
from marm.engine.batch import Batch
from marm.engine.engine import Attended
from marm.engine.heed import Heeded, heed
from marm.engine.live import moments
from marm.errors import DataError, MarmError
from marm.files import replacing
from marm.stages import Ready, Stages
from marm.store.slots import SlotMap
from marm.train.asked import chunk_of, features_of, ids_of, pick, times_of
from marm.train.cut import Cut, load_stages
from marm.train.finished import AS_IT_IS, open_run
from marm.train.run import run_of
from marm.train.setup import Wraps
from marm.types import F32, I64, U64

_AT_ONCE = 8192
Time = int | float | datetime | str


class Scorer:
    """A cut of a run folder, opened to read."""

    def __init__(
        self,
        folder: Path,
        run: RunConfig | None = None,
        wraps: Wraps = AS_IT_IS,
        told: Told | None = None,
        hot: int | None = None,
    ) -> None:
        """The newest cut. ``run``: the folder's settings, as they shall be; the others as in ``open_run``.

        Errors: ``FolderError`` where there is no run, or no cut yet.
        """
        self.run: RunConfig = run or run_of(folder)
        self.log = EventLog(folder / "events")
        self._scratch = TemporaryDirectory(prefix="marm-")
        try:
            self.parts = open_run(
                folder, Path(self._scratch.name), self.log, self.run, copy=False, wraps=wraps, told=told, hot=hot
            )
        except MarmError:
            self._scratch.cleanup()
            raise
        self.engine, self.cut = self.parts.engine, self.parts.cut
        self.seen_items = LastSeen(self.log)
        self._step = 0

    def score(
        self,
        user: Any,
        items: Sequence[Any],
        at: Time | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, F32]:
        """Score items for a user at a time (as the log writes times; None: after its last event): (n,) for each task."""
        frame = pl.DataFrame({self.run.data.user: [user] * len(items), self.run.data.item: list(items)}, strict=False)
        given = {self.run.data.time: at} if at is not None else {}
        columns = {**given, **(context or {})}
        frame = frame.with_columns(**{k: pl.Series([v] * len(frame), strict=False) for k, v in columns.items()})
        scores = self.score_frame(frame, "the request")
        return {name: scores[:, t] for t, name in enumerate(self.run.tasks)}

    def score_frame(self, frame: pl.DataFrame, name: str) -> F32:
        """Score a frame of pairs, with columns as in the log: (n, T). Errors: ``DataError`` naming ``name``, row and column."""
        chunk = chunk_of(frame, name)
        user, item = (ids_of(frame, column, name) for column in (self.run.data.user, self.run.data.item))
        time = self._times(chunk)
        context = features_of(chunk, self.run, "context", self.log)
        user_columns = features_of(chunk, self.run, "user", self.log)
        logged = self._item_columns(item, chunk)
        out = np.empty((len(frame), len(self.run.tasks)), np.float32)
        for part in portions(user, _AT_ONCE, self.engine.memory.hot.slots):
            columns = pick(context, part), pick(user_columns, part)
            out[part] = self._score(user[part], item[part], logged[part], time[part], *columns)
        return out

    def _score(
        self, user: U64, item: U64, logged: U64, time: I64, context: dict[str, Column], user_columns: dict[str, Column]
    ) -> F32:
        """A segment is a user at a time: what it may see begins before that time, whenever that was."""
        asked = SlotMap(len(user))
        segment = asked.insert(moments(user, time))
        first = np.empty(len(asked), np.int64)
        first[segment[::-1]] = np.arange(len(user))[::-1]
        batch = Batch(
            users=user[first],
            user_columns=pick(user_columns, first),
            since=time[first],
            segment=segment,
            item=item,
            item_columns=logged,
            time=time,
            context=context,
            live=np.zeros(len(user), bool),
            known=time,
            outcome=np.zeros(len(user), np.int16),
        )
        return self.attend(batch)

    def attend(self, batch: Batch) -> F32:
        """Predictions for a batch (Q, T), in which a user may stand at several times."""
        logit_QT = self.look(batch).logit_QT
        with torch.no_grad():
            scores: F32 = self.engine.model.predict(logit_QT.float()).cpu().numpy()
        return scores

    def look(self, batch: Batch) -> Attended:
        """The pass itself, without gradient: logits, states, and what its shares read."""
        self._admit(batch)
        with torch.no_grad():
            return self.engine.attend(batch)

    def _admit(self, batch: Batch) -> None:
        self._step += 1
        self.engine.memory.admit(np.unique(batch.users), self._step)

    def heed(self, batch: Batch, query: int) -> tuple[Heeded, F32]:
        """What one query of a batch of one user attends to, and its predictions (T,)."""
        self._admit(batch)
        with torch.no_grad():
            heeded = heed(self.engine, batch, query)
            scores: F32 = self.engine.model.predict(heeded.logit_QT.float()).cpu().numpy()
        return heeded, scores[query]

    def _times(self, chunk: Chunk) -> I64:
        if self.run.data.time not in chunk.frame.columns:
            return np.full(len(chunk.frame), self.log.manifest.last_time + 1)
        return times_of(chunk, self.log)

    def _item_columns(self, item: U64, chunk: Chunk) -> U64:
        """Logged categories of items, as given, as told, or as their last exposure had them; else there are none."""
        out = self.engine.told.logged.over(item, self.seen_items.columns(item))
        for c, name in enumerate(self.log.manifest.columns["item"]):
            if name in chunk.frame.columns:
                out[:, c] = convert(chunk, name, How("category")).to_numpy()
        return out

    def close(self) -> None:
        """Give back the store and the scratch folder."""
        self.parts.store.close()
        self._scratch.cleanup()


def portions(user: U64, pairs: int, users: int) -> list[I64]:
    """Places of pairs in portions of at most so many pairs and so many users, each user's pairs in their order."""
    order = np.argsort(user, kind="stable")
    new = np.concatenate([[False], user[order][1:] != user[order][:-1]])
    turn = np.flatnonzero(new & (np.cumsum(new) % users == 0))
    return [part[low : low + pairs] for part in np.split(order, turn) for low in range(0, len(part), pairs)]


def open_stages(scorer: Scorer, folder: Path) -> Ready:
    """The stages before ranking, as the scorer's cut has them. Errors: ``FolderError`` where they are missing or broken."""
    cut = Cut(folder, scorer.cut)
    stages = Stages(scorer.run, scorer.log, scorer.engine)
    load_stages(stages, cut)
    return Ready(stages, cut.path, cut.state["stages"])


def predict_pairs(scorer: Scorer, pairs: Path, out: Path) -> int:
    """Score a file of pairs into another, beside its columns; the number of pairs. Errors: `DataError`, `DiskError`."""
    written_as(out)
    try:
        frame = scan(pairs).collect()
    except FileNotFoundError:
        raise DataError(f"{pairs}: no such file; name a Parquet, CSV or NDJSON file of pairs") from None
    except PolarsError as error:
        raise unreadable(pairs, error) from None
    scores = scorer.score_frame(frame, str(pairs))
    columns = {f"score_{name}": pl.Series(scores[:, t]) for t, name in enumerate(scorer.run.tasks)}
    with replacing(out) as beside:
        sink(frame.with_columns(**columns).lazy(), beside, out)
    return len(frame)
