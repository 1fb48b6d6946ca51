"""How sure a difference between two models is: users drawn with replacement, both models on the same ones, and beside that
what their seeds spread by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from marm.data.ids import hash_text
from marm.errors import FolderError
from marm.metrics.ranking import group_aucs
from marm.types import F32, F64, I64, U64

DRAWS = 1000


@dataclass(frozen=True)
class UserAucs:
    """AUC of each user that has both classes, one row for each seed (S, U), and the users' scored events (U,)."""

    aucs: F64
    sizes: I64
    users: U64

    @property
    def gauc(self) -> float:
        """Mean over seeds; NaN where no user has both classes."""
        total = self.sizes.sum() * len(self.aucs)
        return float((self.aucs * self.sizes).sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Difference:
    """What one has above another, a model's GAUC or an arm's play time, with the interval that holds 95 % of what is drawn."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def line(self) -> list[float]:
        """What a result file says of it."""
        return [self.value, self.low, self.high]


@dataclass(frozen=True)
class Scores:
    """What one run scored of one task, in order of the stream (R,)."""

    user: U64
    score: F32
    label: F32
    first: I64
    """(E,) row of each event of the log; drawn rows follow theirs."""

    def aucs(self, begin: int, end: int) -> UserAucs:
        """Of the events from one to before another, their drawn rows included."""
        rows = slice(int(self.first[begin]), int(self.first[end]) if end < len(self.first) else None)
        if begin >= end:
            rows = slice(0, 0)
        return aucs_of(self.user[rows], self.score[rows], self.label[rows])

    def last_fifth(self) -> UserAucs:
        """Of the part that studies measure on."""
        return self.aucs(len(self.first) * 4 // 5, len(self.first)) if len(self.first) else self.aucs(0, 0)

    def last_fifth_by_past(self, events: int) -> tuple[UserAucs, UserAucs]:
        """Of that part, the events whose user had fewer than so many before, and the others."""
        event = np.repeat(np.arange(len(self.first)), np.diff(self.first, append=len(self.user)))
        warm = (past(self.user[self.first]) >= events)[event]
        last = event >= len(self.first) * 4 // 5
        new, old = (
            aucs_of(self.user[rows], self.score[rows], self.label[rows]) for rows in (last & ~warm, last & warm)
        )
        return new, old


def past(user: U64) -> I64:
    """How many events of the same user stand before each (E,)."""
    order = np.argsort(user, kind="stable")
    begin = np.flatnonzero(np.diff(user[order], prepend=user[order[:1]] + np.uint64(1)))
    found = np.empty(len(user), np.int64)
    found[order] = np.arange(len(user)) - np.repeat(begin, np.diff(begin, append=len(user)))
    return found


def aucs_of(user: U64, score: F32, label: F32) -> UserAucs:
    """Of one seed's scores (R,)."""
    groups = group_aucs(user, score, label)
    return UserAucs(groups.aucs[None], groups.sizes, groups.groups)


def scores_of(folder: Path, task: str) -> Scores:
    """From the predictions of a run."""
    columns = ["user", "drawn", f"score_{task}", f"label_{task}"]
    frame = pl.read_parquet(folder / "predictions.parquet", columns=columns)
    label = frame[f"label_{task}"].cast(pl.Float32).fill_null(np.nan).to_numpy()
    score = cast(F32, frame[f"score_{task}"].cast(pl.Float32).to_numpy())
    return Scores(hash_text(frame["user"]), score, label, np.flatnonzero(~frame["drawn"].to_numpy()))


def user_aucs(folders: Sequence[Path], task: str) -> UserAucs:
    """AUCs of the last fifth of the events, from the predictions of runs that differ in their seed alone.

    Errors: ``FolderError`` where they scored different events.
    """
    return together([scores_of(folder, task).last_fifth() for folder in folders], folders)


def together(found: Sequence[UserAucs], folders: Sequence[Path]) -> UserAucs:
    """Seeds of one model, each of a folder. Errors: ``FolderError`` where they scored different events."""
    first = found[0]
    for folder, one in zip(folders, found, strict=True):
        if not np.array_equal(one.users, first.users) or not np.array_equal(one.sizes, first.sizes):
            raise FolderError(f"{folder}: scored other events than {folders[0]}: keep one log to one study")
    return UserAucs(np.concatenate([one.aucs for one in found]), first.sizes, first.users)


def difference(one: UserAucs, other: UserAucs) -> Difference:
    """Paired percentile bootstrap (Efron 1979) over users; each model's seeds spread beside them (``seeds_apart``).

    Errors: ``FolderError`` where the two scored different events.
    """
    _must_match(one, other)
    return _drawn([one.aucs, -other.aucs], one.sizes)


def difference_within_seeds(one: UserAucs, other: UserAucs) -> Difference:
    """The same where each seed is one training, scored in two ways: what the differences spread by counts.

    Errors: ``FolderError`` where the two scored different events.
    """
    _must_match(one, other)
    return _drawn([one.aucs - other.aucs], one.sizes)


def _must_match(one: UserAucs, other: UserAucs) -> None:
    if not np.array_equal(one.users, other.users) or not np.array_equal(one.sizes, other.sizes):
        raise FolderError("two models scored different events: keep one log to one study")


def seeds_apart(sides: Sequence[F64], draw: np.random.Generator) -> F64:
    """How far the difference of two means over seeds (S,) may lie from the truth, drawn (DRAWS,): Welch 1947.

    Users drawn with replacement say nothing of it, and so few seeds drawn with replacement too little. A side of one seed
    adds nothing: it has no model, or nothing is known of its seed.
    """
    shares = [(side.var(ddof=1) / len(side), len(side) - 1) for side in sides if len(side) > 1]
    of_mean = sum(share for share, _ in shares)
    if not of_mean:
        return np.zeros(DRAWS)
    free = of_mean**2 / sum(share**2 / free for share, free in shares)
    return np.asarray(np.sqrt(of_mean) * draw.standard_t(free, DRAWS))


def _drawn(parts: list[F64], sizes: I64, seed: int = 0) -> Difference:
    """The sum of the parts (S, U), each averaged over its seeds, over users by size."""
    if not len(sizes):
        return Difference(*[float("nan")] * 3)
    draw, weight = np.random.default_rng(seed), sizes.astype(np.float64)
    values = seeds_apart([part @ weight / weight.sum() for part in parts], draw)
    each = sum(part.mean(0) for part in parts) * weight
    for i in range(DRAWS):
        times = np.bincount(draw.integers(len(sizes), size=len(sizes)), minlength=len(sizes))
        values[i] += (each @ times) / (weight @ times)
    low, high = np.quantile(values, [0.025, 0.975])
    return Difference(float(each.sum() / weight.sum()), float(low), float(high))
