"""A run has about ten windows of metrics, or more: a curve, however short the log is."""

from pathlib import Path

import pytest

from marm.train import trainer
from marm.train.follow import follow
from marm.train.run import train
from tests.train.feeding import events_of, put, quick
from tests.train.folders import metric_lines
from tests.train.logs import log_frame, run_over, write_world

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.mark.parametrize(("asked", "many"), [(None, 10), (40, 5), (150, 2)])
def test_a_short_log_has_ten_windows_and_one_that_says_how_long_they_are_as_many(
    tmp_path: Path, asked: int | None, many: int
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=200))
    train(run_over(world, train={"window_events": asked, "micro_batch": 4}), tmp_path / "run")
    assert len(metric_lines(tmp_path / "run")) == many


def test_a_long_log_and_what_follows_a_short_one_have_windows_of_one_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "WINDOW_EVENTS", 10)
    whole = log_frame(events=200)
    world = write_world(tmp_path / "world", whole[:150])
    sections = {"memory": {"url": "lmdb://memory"}, "train": {"window_events": None, "micro_batch": 2}}
    train(run_over(world, **sections), tmp_path / "run")
    assert len(metric_lines(tmp_path / "run")) == 15
    monkeypatch.setattr(trainer, "WINDOW_EVENTS", 20)
    put(tmp_path / "run", list(events_of(whole[150:])))
    result = follow(tmp_path / "run", quick(tmp_path / "run"), until_idle=0)
    assert len(metric_lines(tmp_path / "run")) - 15 in (result["events"] // 20, result["events"] // 20 + 1)
