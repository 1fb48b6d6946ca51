"""The parity benchmark, in small: a server as a process of its own agrees with a frozen evaluation."""

import json
from pathlib import Path

import pytest

from benchmarks import parity
from marm.train import run as commands
from tests.train.logs import log_frame, run_over, write_world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose items stand on one shelf each: a server knows that of an item from its last exposure."""
    base = tmp_path_factory.mktemp("parity")
    frame = log_frame(events=150)
    world = write_world(base / "world", frame.with_columns(shelf="s" + (frame["item"] % 3).cast(str)))
    commands.train(run_over(world, memory={"url": "lmdb://memory", "codec": "float32"}), base / "run", page=False)
    return base / "run"


def test_what_it_finds_over_http_is_within_the_tolerance(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["parity", str(folder), "--events", "40", "--tail", "80"])
    parity.main()
    told = json.loads(capsys.readouterr().out)
    assert told["events"] == 40 and told["told"] == 80 and set(told["tasks"]) == {"click", "watch"}
    assert told["largest"] < 1e-5
