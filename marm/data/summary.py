"""A log in figures: how many, how often, how long, how positive."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marm.data.labels import Tally
from marm.data.rows import LABELS
from marm.data.times import iso
from marm.types import I64, U64

_COMPACT = 2**22


@dataclass(frozen=True)
class Summary:
    """What a log holds, of rows without trouble."""

    rows: int
    dropped: int
    """Rows that ``data.where`` left out."""
    users: int
    items: int
    events_per_user: tuple[int, int, int]
    """Median, 90th percentile and maximum."""
    first_time: str
    last_time: str
    time_unit: str
    tie_share: float
    """Share of events that share user and time with another."""
    duplicates: int
    """Events whose user, item and time were there before."""
    tasks: dict[str, float]
    """Positive rate of a binary task, mean of a regression; NaN where nothing was observed."""


class Counter:
    """Distinct ids and how often each occurs, in memory that grows with the ids, not with the log."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []
        self._waiting = 0
        self._limit = _COMPACT

    def add(self, ids: pl.Series) -> None:
        """Count ids (n,)."""
        part = pl.DataFrame({"id": ids}).group_by("id").agg(count=pl.len().cast(pl.Int64))
        self._parts.append(part)
        self._waiting += part.height
        if self._waiting > self._limit:
            self._waiting = self._merged().height
            self._limit = 2 * self._waiting + _COMPACT

    def ids(self) -> U64:
        """Distinct ids, in no order."""
        return self._merged()["id"].to_numpy()

    def counts(self) -> I64:
        """How often each occurs."""
        return self._merged()["count"].to_numpy()

    def _merged(self) -> pl.DataFrame:
        if len(self._parts) > 1:
            self._parts = [pl.concat(self._parts).group_by("id").agg(pl.col("count").sum())]
        return self._parts[0] if self._parts else pl.DataFrame(schema={"id": pl.UInt64, "count": pl.Int64})


class Account:
    """Takes a stream block by block and comes to a summary."""

    def __init__(self, tasks: list[str]) -> None:
        self.tally = Tally(tasks)
        self.users = Counter()
        self.items = Counter()
        self.ties = 0
        self.duplicates = 0
        self.first_duplicate: int | None = None

    def add(self, block: pl.DataFrame) -> None:
        """Count a block in the stream's order; no time is in two blocks."""
        self.tally.add(block["time"].to_numpy(), block[LABELS].to_numpy())
        self.users.add(block["user"])
        self.items.add(block["item"])
        tied = block.filter(_tied(block["time"].to_numpy(), block["user"].to_numpy()))
        self.ties += tied.height
        again = tied.filter(~pl.struct("user", "item", "time").is_first_distinct())["row"]
        self.duplicates += len(again)
        if len(again) and self.first_duplicate is None:
            self.first_duplicate = int(again[0])

    def summary(self, dropped: int, time_unit: str) -> Summary:
        """All of it in figures."""
        counts = self.users.counts()
        p50, p90, most = (
            int(np.quantile(counts, share, method="lower")) if len(counts) else 0 for share in (0.5, 0.9, 1)
        )
        tally = self.tally
        means = tally.sums / np.where(tally.observed > 0, tally.observed, np.nan)
        return Summary(
            rows=tally.rows,
            dropped=dropped,
            users=len(counts),
            items=len(self.items.ids()),
            events_per_user=(p50, p90, most),
            first_time=iso(tally.first_time) if tally.rows else "",
            last_time=iso(tally.last_time) if tally.rows else "",
            time_unit=time_unit,
            tie_share=self.ties / max(tally.rows, 1),
            duplicates=self.duplicates,
            tasks=dict(zip(tally.tasks, map(float, means), strict=True)),
        )


def _tied(time: I64, user: U64) -> pl.Series:
    """Which events share user and time with a neighbour (n,)."""
    same = (time[1:] == time[:-1]) & (user[1:] == user[:-1])
    return pl.Series(np.append(same, False) | np.insert(same, 0, False))
