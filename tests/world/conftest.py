import pytest

from marm.world import Simulation, WorldConfig, simulate
from tests.world.replay import make


@pytest.fixture(scope="session")
def large() -> Simulation:
    """Enough events to see shares and rates; ten exposures of an item, as in the published log."""
    return simulate(WorldConfig(users=500, items=20_000, events=200_000))


@pytest.fixture(scope="session")
def still() -> Simulation:
    """A log of static taste alone."""
    return make()
