"""Brokers for all of these tests, and a run that was trained before anything was sent to them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.brokers import Tansu
from tests.kafka.topics import Cluster, begun_in


@pytest.fixture(scope="session")
def mock() -> Cluster:
    """In this process."""
    return Cluster()


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The one that MARM_KAFKA_BROKERS names, or a program of its own."""
    if named := os.environ.get("MARM_KAFKA_BROKERS"):
        yield Cluster(named)
        return
    tansu = Tansu(tmp_path_factory.mktemp("broker"))
    yield tansu.cluster()
    tansu.kill()


@pytest.fixture(scope="session", params=["mock", "real"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """One of them, then the other."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first events of a log; copied, never changed."""
    return begun_in(tmp_path_factory.mktemp("trained"), "arena://")
