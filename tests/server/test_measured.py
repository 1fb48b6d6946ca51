"""An evaluation measures a cut's stages on another log, and what it says is what a server at that cut gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marm.config import load_run
from marm.stages.hits import Hits
from marm.train import run as commands
from tests.server.running import Running
from tests.train.folders import metric_lines, result
from tests.train.logs import START, log_frame

AGAIN = "stages.retrieval.again=true"
SETS = [AGAIN, "stages.cascading.measured=1", "stages.retrieval.measured=1"]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[int]]]:
    """Ranks (orders) of the events that are measured, in order, by the first order's name."""
    found: dict[str, list[list[int]]] = {}
    real = Hits.add

    def note(self: Hits, numbers: Any, new: Any, ranks: Any) -> None:
        found.setdefault(self.orders[0], []).extend(ranks.T.tolist())
        real(self, numbers, new, ranks)

    monkeypatch.setattr(Hits, "add", note)
    return found


def later(path: Path) -> pl.DataFrame:
    """One event of each user after the log, one of them of an item that nobody knows; those that are positive."""
    frame = log_frame(seed=9, events=12).with_columns(
        user=pl.Series([f"u{u}" for u in range(12)]),
        time=pl.Series(START + 100_000 + np.arange(12) * 7),
        item=pl.Series([*range(11), 999]),
        click=pl.Series(np.arange(12) != 5).cast(int),
    )
    frame.write_parquet(path)
    return frame.filter(pl.col("click") == 1)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_evaluation_says_where_a_server_at_the_cut_would_put_what_was_received(
    staged: Path, tmp_path: Path, noted: dict[str, list[list[int]]], start: Callable[..., Running], frozen: bool
) -> None:
    frame = later(tmp_path / "later.parquet")
    sets = [f"data.log={json.dumps(str(tmp_path / 'later.parquet'))}", *SETS]
    told = commands.evaluate(staged, load_run(staged / "run.toml", sets), frozen)["stages"]
    assert told["retrieval"]["whole"]["events"] == 11 and told["retrieval"]["whole"]["new_items"] == 1 / 11
    assert told["cascading"]["end_to_end"]["events"] == 3 and 0 < told["cascading"]["candidates"] <= 12
    server = start(staged, AGAIN)
    for row, ranks in zip(frame.iter_rows(named=True), noted["retrieval"], strict=True):
        context = {name: row[name] for name in ("page", "hour", "query")}
        asked = {"user": row["user"], "k": 30, "at": row["time"], "context": context}
        found = [one["item"] for one in server.post("/v1/retrieve", asked)["items"]]
        assert ranks[0] == (found.index(row["item"]) + 1 if row["item"] in found else 0)
    assert max(ranks[0] for ranks in noted["retrieval"]) > 3


def test_windows_have_the_figures_of_every_stage_and_add_up_to_the_whole(trained_stages: Path) -> None:
    lines = [line["stages"] for line in metric_lines(trained_stages)]
    whole = result(trained_stages)["stages"]
    assert sum(line["retrieval"]["events"] for line in lines) == whole["retrieval"]["whole"]["events"]
    kept = [line["cascading"] for line in lines if line["cascading"]["events"]]
    assert len(kept) > 1 and all(0 <= line["cascading"]["kept_of_top_10"] <= 1 for line in kept)
    assert {"recall@50", "ndcg@50"} <= kept[0]["end_to_end"]["stages"].keys()
