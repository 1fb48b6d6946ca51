"""A broker for all of these tests, and a run that was trained before anything was sent to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.topics import TRAINED, Cluster
from tests.train.logs import log_frame, run_over, write_world


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    yield Cluster()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first events of a log."""
    from marm.train import run as commands

    folder = tmp_path_factory.mktemp("trained")
    world = write_world(folder / "world", log_frame(events=400)[:TRAINED])
    train = {"cut_every": 30, "micro_batch": 8, "window_events": 25}
    run = run_over(world, train=train, data={"feedback_delay": "delay"})
    commands.train(run, folder / "run", page=False)
    return folder / "run"
