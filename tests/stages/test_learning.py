"""What the stages learn, on a log whose users each want one kind of item."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marm.config.load import check_run
from marm.train import run as commands

USERS, KINDS, EACH, EVENTS = 40, 8, 50, 6000
pytestmark = pytest.mark.usefixtures("no_report")


def kinds_log() -> pl.DataFrame:
    """Four of five items shown are of the user's kind and clicked by nine in ten; of the others one in twenty."""
    rng = np.random.default_rng(0)
    user = rng.integers(0, USERS, EVENTS)
    own = rng.random(EVENTS) < 0.8
    kind = np.where(own, user % KINDS, rng.integers(0, KINDS, EVENTS))
    item = kind * EACH + rng.integers(0, EACH, EVENTS)
    click = rng.random(EVENTS) < np.where(kind == user % KINDS, 0.9, 0.05)
    return pl.DataFrame({"user": user, "item": item, "time": np.arange(EVENTS), "click": click.astype(np.int8)})


def test_retrieval_finds_what_a_user_wants_and_cascading_keeps_what_ranking_would(tmp_path: Path) -> None:
    kinds_log().write_parquet(tmp_path / "log.parquet")
    raw = {
        "data": {"path": str(tmp_path), "log": "log.parquet", "user": "user", "item": "item", "time": "time"},
        "tasks": {"click": {"column": "click"}},
        "model": {"layers": 1, "width": 16, "table_rows": 2**12},
        "memory": {"url": "arena://", "window": 30},
        "stages": {
            "retrieval": {"measured": 0.3, "found": 300, "table_rows": 2**12, "again": True},
            "cascading": {"measured": 0.05, "given": 50, "table_rows": 2**12, "sampled": 0.1},
        },
    }
    told = commands.train(check_run(raw, "run"), tmp_path / "run")["stages"]
    retrieval, cascading = told["retrieval"], told["cascading"]
    # Popularity knows no users: about fifty of four hundred.
    assert retrieval["popularity"]["recall@50"] < 0.25 and retrieval["retrieval"]["recall@50"] > 0.6
    assert cascading["popularity"]["kept_of_top_10"] < 0.5 and cascading["cascading"]["kept_of_top_10"] > 0.75
