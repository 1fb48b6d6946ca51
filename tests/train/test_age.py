"""What older or missing states cost is measured on the stream as it was learned."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.train import age, misses
from marm.train import run as commands
from marm.train.run import quiet
from tests.train.folders import result
from tests.train.logs import run_over

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.mark.parametrize(
    ("search", "every", "events"), [(None, 1, 30), ({"rule": "hash", "picked": 3, "history": 14}, 2, 12)]
)
def test_rows_made_anew_by_weights_that_never_moved_change_no_score(
    search: dict[str, Any] | None, every: int, events: int, world: Path, tmp_path: Path
) -> None:
    train = {"learning_rate": 1e-30, "table_rate": 1e-30}
    memory = {"url": "arena://", "codec": "float32", "window": 8, "search": search}
    run = run_over(world, train=train, data={"feedback_delay": "delay"}, memory=memory)
    commands.train(run, tmp_path / "run")
    rows = age.memory_age(tmp_path / "run", quiet, every)["tasks"]["click"]
    assert sum(row["events"] for row in rows[1:]) == rows[0]["events"]
    assert events <= rows[0]["events"] < 40 / every + 8
    assert rows[0]["age_steps"] > 0
    for row in rows:
        assert row["drift"] < 1e-5
        np.testing.assert_equal(row["gauc_fresh"], row["gauc_remembered"])


def test_rows_made_anew_by_weights_that_moved_change_scores(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "events").symlink_to(trained / "events")
    (copy / "run.toml").write_bytes((trained / "run.toml").read_bytes())
    found = age.memory_age(copy, quiet)
    assert found["tasks"]["click"][0]["drift"] > 1e-4
    assert json.loads((copy / "age.json").read_text()) == found
    page = (copy / "age.html").read_text()
    assert "made anew" in page and "<svg" in page


def test_the_run_with_no_state_missing_is_the_run_itself(trained: Path) -> None:
    told = misses.misses(trained, quiet, (0.0, 1.0))
    assert told[0]["tasks"] == result(trained)["tasks"]
    assert told[0]["hit_rate"] == 1.0 and told[1]["hit_rate"] < 0.9
    assert told[1]["users_without_states"] == 12 and told[1]["tasks"] != told[0]["tasks"]
