"""Nothing that lies after t, and no outcome that is not known at t, moves a prediction made up to t by a single bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import marm
from tests.train.folders import predictions
from tests.train.logs import START, log_frame, run_over, write_world

pytestmark = pytest.mark.usefixtures("no_report")

RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "delay, token shift, equal ids": {
        "data": {"feedback_delay": "delay"},
        "model": {"token_shift": True, "equal_ids": True},
    },
    "negatives, segments": {
        "negatives": {"per_event": 2, "recent": 60},
        "train": {"segment": 3, "segment_after": 300.0},
    },
    "filtered history, delay, raw rows": {
        "data": {"history": "click = 1", "feedback_delay": "delay"},
        "model": {"raw_rows": True, "task_layers": True},
    },
    "a search by signs, delay, token shift": {
        "data": {"feedback_delay": "delay"},
        "model": {"token_shift": True},
        "memory": {"window": 3, "search": {"rule": "hash", "picked": 3, "history": 6}},
        "train": {"live": 3},
    },
    "an exact search, a filtered history": {
        "data": {"history": "click = 1"},
        "memory": {"window": 3, "search": {"rule": "dot", "picked": 2, "history": 9}},
        "train": {"live": 3},
    },
}


def shuffled(frame: pl.DataFrame, after: int, names: list[str]) -> pl.DataFrame:
    """Columns of the rows after a time, each in another order."""
    rng = np.random.default_rng(3)
    late = np.flatnonzero(frame["time"].to_numpy() > after)
    order = np.arange(len(frame))
    for name in names:
        order[late] = rng.permutation(late)
        frame = frame.with_columns(frame[name].gather(order).alias(name))
    return frame


def grown(frame: pl.DataFrame, after: int) -> pl.DataFrame:
    """Every row after a time twice, and users and items among them that nobody has seen before."""
    late = frame.filter(pl.col("time") > after)
    new = late.with_columns(user=pl.col("user") + "x", item=pl.col("item") + 50)
    return pl.concat([frame.filter(pl.col("time") <= after), pl.concat([late, late, new]).sort("time")])


LATER: dict[str, Callable[[pl.DataFrame, int], pl.DataFrame]] = {
    "users, items and outcomes after t": lambda frame, t: shuffled(
        frame, t, ["user", "item", "click", "watch", "delay"]
    ),
    "features after t": lambda frame, t: shuffled(frame, t, ["shelf", "page", "hour", "query"]),
    "more events after t": grown,
    "no events after t": lambda frame, t: frame.filter(pl.col("time") <= t),
}


def scored(folder: Path, frame: pl.DataFrame, sections: dict[str, Any]) -> pl.DataFrame:
    marm.train(run_over(write_world(folder / "world", frame), **sections), folder / "run")
    # A log cut short may have no label of a row that a longer one has: labels are not what is compared.
    return predictions(folder / "run").select(pl.exclude("^label_.*$"))


@pytest.mark.parametrize("kind", RUNS)
def test_a_log_altered_after_t_has_the_same_predictions_up_to_t(kind: str, tmp_path: Path) -> None:
    frame = log_frame(events=150)
    whole = scored(tmp_path / "whole", frame, RUNS[kind])
    drawn = RUNS[kind].get("negatives", {}).get("per_event", 0)
    # One time in the middle of a step, one at whose end several users' events are tied.
    ties = frame["time"].to_numpy()
    for number, (name, alter) in enumerate(LATER.items()):
        t = int(ties[[50, 71, 97, 121][number]])
        other = scored(tmp_path / str(number), alter(frame, t), RUNS[kind])
        before = (pl.col("time") <= t) if whole["time"].dtype.is_integer() else (pl.col("time").dt.epoch("s") <= t)
        early, same = whole.filter(before), other.filter(before)
        assert len(early) >= (frame["time"] <= t).sum() * (1 + 0.8 * drawn)
        assert early.equals(same), name
        # The change did reach the run: what is scored later is not the same.
        assert not whole.equals(other), name


@pytest.mark.parametrize("users", [12, 2])
@pytest.mark.parametrize("kind", [kind for kind in RUNS if "delay" in kind])
def test_outcomes_not_known_at_t_leave_the_predictions_up_to_t(kind: str, users: int, tmp_path: Path) -> None:
    """With two users, each has more of them than a window and a live tail hold."""
    frame = log_frame(seed=2, events=150, users=users).with_columns(delay=pl.col("delay") * 3)
    t = int(frame["time"][100])
    unknown = (pl.col("time") + pl.col("delay")) > t
    flipped = frame.with_columns(
        click=pl.when(unknown).then(1 - pl.col("click")).otherwise(pl.col("click")),
        watch=pl.when(unknown).then(pl.col("watch") + 2).otherwise(pl.col("watch")),
    )
    assert frame.filter(unknown & (pl.col("time") <= t)).height > 10
    one, other = (scored(tmp_path / name, log, RUNS[kind]) for name, log in (("one", frame), ("other", flipped)))
    early = pl.col("time") <= t
    assert one.filter(early).equals(other.filter(early))
    assert not one.equals(other)


def test_the_outcome_that_is_known_at_t_does_move_predictions(tmp_path: Path) -> None:
    """The guard above can fail: the same change is seen as soon as outcomes are known at once."""
    frame = log_frame(events=120)
    flipped = frame.with_columns(
        click=pl.when(pl.col("time") < START + 300).then(1 - pl.col("click")).otherwise(pl.col("click"))
    )
    one, other = (scored(tmp_path / name, log, {}) for name, log in (("one", frame), ("other", flipped)))
    assert not one.equals(other)
