"""What several ranks train together is what one process trains, but for the order in which floats are added."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marm.config import RunConfig
from marm.errors import SettingError
from marm.ranks import Group
from marm.train import run as commands
from marm.train.ranked import check
from tests.ranks.processes import together
from tests.store import servers
from tests.train.folders import metric_lines, predictions, remembered, result, stages, weights
from tests.train.logs import STAGES, log_frame, run_over, write_world

FIRST = 4
"""Predictions before the first update, which are the same bit for bit: at least so many make a step."""

TOLERANCE = 2e-5
"""Of predictions and weights after some 40 updates at ten times the usual rate."""


def train(group: Group, run: RunConfig, out: Path) -> None:
    commands.train(run, out, page=False, group=group)


def check_like(one: Path, many: Path) -> None:
    """Two folders hold the same run, floats within tolerance."""
    scored, again = predictions(one), predictions(many)
    floats = [name for name in scored.columns if name.startswith("score_")]
    assert scored.head(FIRST).equals(again.head(FIRST))
    assert scored.drop(floats).equals(again.drop(floats))
    assert np.allclose(
        scored.select(floats).to_numpy(), again.select(floats).to_numpy(), atol=TOLERANCE, rtol=TOLERANCE
    )
    learned, again = (weights(folder) | stages(folder) for folder in (one, many))
    assert learned.keys() == again.keys()
    for name, tensor in learned.items():
        torch.testing.assert_close(again[name], tensor, atol=TOLERANCE, rtol=0.01, msg=name)
    check_rings(one, many)
    first, second = result(one), result(many)
    for name in ("events", "segments", "parameters"):
        assert first[name] == second[name], name
    assert first["memory"] == second["memory"] and first.get("stages") == second.get("stages")
    for name in ("tasks", "whole"):
        check_figures(first[name], second[name], name)
    for mine, theirs in zip(metric_lines(one), metric_lines(many), strict=True):
        check_figures(mine["tasks"], theirs["tasks"], f"line of {mine['events']} events")
        # Ages are those of a sample of each pass's rows, and the passes are others.
        alike = ("events", "hit_rate", "memory_rows", "stages")
        assert {k: mine.get(k) for k in alike} == {k: theirs.get(k) for k in alike}


def check_figures(mine: Any, theirs: Any, name: str) -> None:
    """Counts, labels and what is undefined are the same; what is made of predictions is within their tolerance.

    AUC and GAUC too, as orders are the same: of these logs the nearest scores that count lie 0.00001 apart, ten times what
    predictions differ by.
    """
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), name
        for key, figure in mine.items():
            check_figures(figure, theirs[key], f"{name}, {key}")
    elif isinstance(mine, list):
        assert len(mine) == len(theirs), name
        for number, pair in enumerate(zip(mine, theirs, strict=True)):
            check_figures(*pair, f"{name}, {number}")
    elif isinstance(mine, float):
        assert theirs == pytest.approx(mine, abs=TOLERANCE, rel=TOLERANCE), name
    else:
        assert mine == theirs, name


def check_rings(one: Path, many: Path) -> None:
    rings, again = remembered(one), remembered(many)
    assert rings.keys() == again.keys()
    for user, (*bounds, facts, states, there) in rings.items():
        assert (*bounds, facts, there) == (*again[user][:4], again[user][5])
        mine, theirs = (np.frombuffer(data, np.float32) for data in (states, again[user][4]))
        assert np.allclose(mine, theirs, atol=5 * TOLERANCE)


def test_two_ranks_train_as_one_process_does_and_share_a_redis(tmp_path: Path) -> None:
    """At once, two passes, a hot arena for few, stages beside.

    How far 30 updates carry a last bit hangs on the seed: of seeds 0 to 5 states came to differ by 0.00002 (4) to 0.00012 (0).
    """
    world = write_world(tmp_path / "world", log_frame(events=120))
    memory = {"codec": "float32", "hot": 6 * 31 * 140}
    shape: dict[str, Any] = {"train": {"passes": 2, "micro_batch": 8, "first_batch": 8, "cut_every": 50, "seed": 4}}
    shape["stages"] = STAGES
    commands.train(run_over(world, memory={"url": "lmdb://memory", **memory}, **shape), tmp_path / "one", page=False)
    shared = run_over(world, memory={"url": servers.single().url(), **memory}, **shape)
    assert together(2, train, shared, tmp_path / "many") == [0, 0]
    check_like(tmp_path / "one", tmp_path / "many")


def test_four_ranks_train_as_one_process_does(tmp_path: Path) -> None:
    """In the arena, outcomes known late, negatives, a search before short windows, old states made anew."""
    shape: dict[str, Any] = {
        "memory": {
            "codec": "float32",
            "window": 4,
            "refresh": 9,
            "search": {"rule": "dot", "history": 20, "picked": 3},
        },
        "train": {"live": 4, "average": 20},
        "data": {"feedback_delay": "delay"},
        "negatives": {"per_event": 1, "recent": 50},
    }
    run = run_over(write_world(tmp_path / "world", log_frame(events=120)), **shape)
    commands.train(run, tmp_path / "one", page=False)
    assert together(4, train, run, tmp_path / "many") == [0] * 4
    assert result(tmp_path / "one")["memory"]["rows_refreshed"] > 100
    check_like(tmp_path / "one", tmp_path / "many")


def test_a_gpu_is_refused_by_name(tmp_path: Path) -> None:
    run = run_over(tmp_path, train={"device": "cuda"})
    with pytest.raises(SettingError, match=r"^train.device.*set"):
        check(run, 2)
    check(run, 1)


def other_settings(group: Group, run: RunConfig, out: Path) -> None:
    other = run.model_copy(update={"train": run.train.model_copy(update={"seed": group.rank})})
    with pytest.raises(SettingError, match="ranks were given different run files"):
        commands.train(other, out, group=group)
    assert not out.exists()


def test_ranks_that_were_given_different_settings_stop(tmp_path: Path) -> None:
    assert together(2, other_settings, run_over(tmp_path), tmp_path / "run") == [0, 0]
