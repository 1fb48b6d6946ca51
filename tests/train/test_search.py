"""A run that searches: what an evaluation says of it, and who is refused."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.config import load_run
from marm.errors import SettingError
from marm.train import run as commands
from tests.train.logs import log_frame, run_over, write_world

pytestmark = pytest.mark.usefixtures("no_report")


def searching(world: Path, **search: Any) -> Any:
    memory = {"window": 4, "search": {"picked": 3, "history": 20, **search}}
    return run_over(world, memory=memory, train={"live": 4})


@pytest.mark.parametrize(("rule", "all_found"), [("dot", True), ("hash", False)])
def test_an_evaluation_tells_by_layer_how_much_of_the_exact_search_was_found(
    tmp_path: Path, rule: str, all_found: bool
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=200, users=3))
    commands.train(searching(world, rule=rule), tmp_path / "run")
    log_frame(seed=2, users=3).with_columns(time=pl.col("time") + 10**6).write_parquet(world / "later.parquet")
    told = commands.evaluate(tmp_path / "run", load_run(tmp_path / "run" / "run.toml", ["data.log=later.parquet"]))
    recall = told["search"]["recall"]
    assert len(recall) == 3
    assert all(found == 1 if all_found else 0.2 < found < 1 for found in recall), recall


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        ({"rule": "category"}, "go together"),
        ({"rule": "hash", "category": "brand"}, "go together"),
        ({"rule": "category", "category": "genres"}, "no such item category; there is brand, shelf"),
        ({"rule": "hash", "bits": 96}, "memory.search.bits = 96"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(tmp_path: Path, search: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SettingError, match=wanted):
        searching(tmp_path, **search)
