"""A broker for all of these tests, and a run that was trained before anything was sent to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.topics import Cluster, begun_in


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    yield Cluster()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first events of a log; copied, never changed."""
    return begun_in(tmp_path_factory.mktemp("trained"), "arena://")
