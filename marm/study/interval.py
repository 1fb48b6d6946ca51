"""How sure a difference between two models is: users and seeds drawn with replacement, both models on the same ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from marm.errors import FolderError
from marm.metrics.ranking import group_aucs
from marm.types import F64, I64, U64

DRAWS = 1000


@dataclass(frozen=True)
class UserAucs:
    """AUC of each user that has both classes, one row for each seed (S, U), and the users' scored events (U,)."""

    aucs: F64
    sizes: I64
    users: U64

    @property
    def gauc(self) -> float:
        """Mean over seeds."""
        return float((self.aucs * self.sizes).sum() / self.sizes.sum() / len(self.aucs))


@dataclass(frozen=True)
class Difference:
    """GAUC of one model less that of another, with the interval that holds 95 % of what is drawn."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def user_aucs(folders: list[Path], task: str) -> UserAucs:
    """AUCs of the last fifth of the events, from the predictions of runs that differ in their seed alone.

    Errors: ``FolderError`` where they scored different events.
    """
    found = [_of_run(folder, task) for folder in folders]
    first = found[0]
    for folder, one in zip(folders, found, strict=True):
        if not np.array_equal(one.users, first.users) or not np.array_equal(one.sizes, first.sizes):
            raise FolderError(f"{folder}: scored other events than {folders[0]}: keep one log to one study")
    return UserAucs(np.concatenate([one.aucs for one in found]), first.sizes, first.users)


def _of_run(folder: Path, task: str) -> UserAucs:
    columns = ["user", "drawn", f"score_{task}", f"label_{task}"]
    frame = pl.read_parquet(folder / "predictions.parquet", columns=columns)
    real = np.flatnonzero(~frame["drawn"].to_numpy())
    frame = frame[int(real[len(real) * 4 // 5]) :] if len(real) else frame
    # By their text, so that users get the same numbers in every run.
    user = frame["user"].cast(pl.String).rank("dense").to_numpy().astype(np.uint64)
    label = frame[f"label_{task}"].cast(pl.Float32).fill_null(np.nan).to_numpy()
    groups = group_aucs(user, frame[f"score_{task}"].cast(pl.Float32).to_numpy(), label)
    return UserAucs(groups.aucs[None], groups.sizes, groups.groups)


def difference(one: UserAucs, other: UserAucs, seed: int = 0, draws: int = DRAWS) -> Difference:
    """Paired percentile bootstrap (Efron 1979) over users; each model's seeds are drawn beside them.

    Errors: ``FolderError`` where the two scored different events.
    """
    if not np.array_equal(one.users, other.users) or not np.array_equal(one.sizes, other.sizes):
        raise FolderError("two models scored different events: keep one log to one study")
    draw, sizes = np.random.default_rng(seed), one.sizes.astype(np.float64)
    weighted = [model.aucs * sizes for model in (one, other)]
    values = np.empty(draws)
    for i in range(draws):
        times = np.bincount(draw.integers(len(sizes), size=len(sizes)), minlength=len(sizes))
        each = [(part @ times)[draw.integers(len(part), size=len(part))].mean() for part in weighted]
        values[i] = (each[0] - each[1]) / (times @ sizes)
    low, high = np.quantile(values, [0.025, 0.975])
    return Difference(one.gauc - other.gauc, float(low), float(high))
