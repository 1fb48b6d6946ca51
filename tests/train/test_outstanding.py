"""Outcomes known long after: however many events of a user wait, no target's view comes out short."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marm.cli.progress import StreamProgress
from marm.train import run as commands
from tests.train.folders import predictions, result
from tests.train.logs import START, log_frame, run_over, write_world

pytestmark = pytest.mark.usefixtures("no_report")

KINDS: dict[str, dict[str, Any]] = {
    "filtered": {"history": "click = 1"},
    "all": {},
}


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three users in three bursts: each has some 33 events, far more than a window and its slack, before one is known."""
    frame = log_frame(events=300, users=3)
    time = START + np.arange(300) + 5000 * (np.arange(300) // 100)
    return write_world(tmp_path_factory.mktemp("bursts"), frame.with_columns(time=pl.Series(time), delay=pl.lit(1000)))


def trained(bursts: Path, out: Path, data: dict[str, Any], **memory: Any) -> Path:
    standing = {"learning_rate": 1e-30, "table_rate": 1e-30}
    sections = {"data": {"feedback_delay": "delay", **data}, "memory": {"slack": 0, "codec": "float32", **memory}}
    commands.train(run_over(bursts, train=standing, **sections), out, StreamProgress("train", quiet=True))
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_rings_hold_what_waits_so_that_slack_moves_nothing(bursts: Path, tmp_path: Path, kind: str) -> None:
    bare = trained(bursts, tmp_path / "bare", KINDS[kind])
    roomy = trained(bursts, tmp_path / "roomy", KINDS[kind], slack=150)
    assert result(bare)["memory"]["rows_lost"] == result(roomy)["memory"]["rows_lost"] == 0
    assert predictions(bare).equals(predictions(roomy))


def test_where_no_room_is_left_for_them_what_is_lost_is_counted_and_told_once(
    bursts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tight = trained(bursts, tmp_path / "tight", KINDS["all"], hot=50_000)
    assert result(tight)["memory"]["rows_lost"] > 100
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "memory.slack = 0" in told and "raise memory.slack" in told
    trained(bursts, tmp_path / "mended", KINDS["all"], hot=50_000, slack=140)
    assert result(tmp_path / "mended")["memory"]["rows_lost"] == 0 and not capsys.readouterr().err
