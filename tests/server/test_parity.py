"""What a frozen evaluation scores and what the server answers at the same cut are one number, live tails included."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marm.config import load_run
from marm.train import run as commands
from tests.server.running import Running
from tests.train.logs import log_frame, run_over, write_world

OUTCOMES = ["click", "watch"]
CONTEXT = ["page", "hour", "query", "shelf"]


def later(folder: Path, events: int) -> pl.DataFrame:
    """A log after the one trained on, each user's item always on one shelf, as the server takes it to be."""
    last = pl.read_parquet(folder / "log.parquet")["time"].max()
    frame = log_frame(seed=7, events=events)
    time = frame["time"] - frame["time"].min() + last + 100
    return frame.with_columns(time=time, shelf=pl.lit("s1"))


def told(row: dict[str, Any], number: int) -> dict[str, Any]:
    outcomes = {name: row[name] for name in OUTCOMES if row[name] is not None}
    context = {name: row[name] for name in CONTEXT}
    return {
        "event_id": f"e{number}",
        **{name: row[name] for name in ("user", "item")},
        "at": row["time"],
        "context": context,
        "outcomes": outcomes,
    }


SEARCH = {"window": 6, "search": {"rule": "dot", "picked": 3, "history": 12}}
LIMITS = {"max_age": 12, "max_age_seconds": 2500.0, "ttl": 1500.0}
"""Some rows are too old by each of them."""


@pytest.mark.parametrize(
    ("model", "memory"),
    [({}, SEARCH), ({"token_shift": True, "raw_rows": True, "equal_ids": True}, LIMITS), ({}, SEARCH | LIMITS)],
)
def test_the_server_answers_what_a_frozen_evaluation_scores(
    tmp_path: Path, start: Callable[..., Running], model: dict[str, Any], memory: dict[str, Any]
) -> None:
    world = write_world(tmp_path / "world", log_frame().with_columns(shelf=pl.lit("s1")))
    train = {"average": 50 if model else 0}
    run = run_over(world, memory={"url": "lmdb://memory", "codec": "float32", **memory}, model=model, train=train)
    commands.train(run, tmp_path / "run", page=False)
    frame = later(world, 400)
    frame.write_parquet(world / "later.parquet")
    evaluated = load_run(tmp_path / "run" / "run.toml", ["data.log=later.parquet"])
    told_ = commands.evaluate(tmp_path / "run", evaluated, frozen=True, predictions=tmp_path / "frozen.parquet")
    assert told_["memory"]["hit_rate"][0] == 1.0 if memory is SEARCH else 0.05 < told_["memory"]["hit_rate"][0] < 0.95
    wanted = pl.read_parquet(tmp_path / "frozen.parquet").sort("row")
    server = start(tmp_path / "run")
    rows = frame.to_dicts()
    found = []
    for begin in range(0, len(rows), 50):
        server.post(
            "/v1/events", {"events": [told(row, begin + i) for i, row in enumerate(rows[begin : begin + 50])]}, 202
        )
        for row in rows[begin : begin + 50]:
            context = {name: row[name] for name in ("page", "hour", "query")}
            # Asked as of the event's time: what came after it must not show.
            body = {"user": row["user"], "candidates": [row["item"]], "at": row["time"], "context": context}
            found.append(server.post("/v1/rank", body)["items"][0]["tasks"])
    for task in OUTCOMES:
        scores = np.array([one[task] for one in found])
        np.testing.assert_allclose(scores, wanted[f"score_{task}"].to_numpy(), atol=1e-5, rtol=1e-5)
