"""A trained folder to copy, and servers on loopback."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from marm.train import run as commands
from tests.server.running import Running
from tests.train.logs import STAGES, run_over, write_world

LMDB = {"url": "lmdb://memory", "codec": "float32"}


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a small world; copied, never changed."""
    base = tmp_path_factory.mktemp("served")
    world = write_world(base / "world")
    commands.train(run_over(world, memory=LMDB), base / "run", page=False)
    return base / "run"


@pytest.fixture
def folder(trained_once: Path, tmp_path: Path) -> Path:
    """A trained folder of the test's own."""
    return Path(shutil.copytree(trained_once, tmp_path / "run"))


@pytest.fixture(scope="session")
def trained_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all stages; copied, never changed."""
    base = tmp_path_factory.mktemp("stages")
    commands.train(run_over(write_world(base / "world"), memory=LMDB, stages=STAGES), base / "run", page=False)
    return base / "run"


@pytest.fixture
def staged(trained_stages: Path, tmp_path: Path) -> Path:
    """A trained folder of the test's own, with all stages."""
    return Path(shutil.copytree(trained_stages, tmp_path / "run"))


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts servers, and stops them after the test."""
    running: list[Running] = []

    def begin(folder: Path, *sets: str, **options: Any) -> Running:
        running.append(Running(folder, sets, **options))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
