"""Worlds and trained folders that several tests read, and none changes."""

from pathlib import Path

import pytest

from marm.train import run as commands
from tests.train.logs import run_over, write_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log and its side files."""
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="package")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run over that world, in LMDB; read it, do not write to it."""
    out = tmp_path_factory.mktemp("trained") / "run"
    commands.train(run_over(world, memory={"url": "lmdb://memory"}), out)
    return out


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests train small runs by the dozen and read no page; drawing one takes longer than such a run."""
    monkeypatch.setattr(commands, "write_report", lambda folder: None)
