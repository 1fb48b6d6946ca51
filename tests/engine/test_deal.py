"""How a batch falls into shares: every query once, users whole, and nobody moved by what comes later."""

import numpy as np
import pytest

from marm.engine.batch import deal
from marm.engine.batches import Drawn, ask
from tests.engine.worlds import exposures


def shares_of(events: int, shares: int) -> list[list[int]]:
    """Queries of each share, of the first so many events of a log."""
    seen = exposures(4, events=60, users=7).pick(np.arange(events))
    return [queries.tolist() for _, queries in deal(ask(seen, Drawn.none(0)).batch, shares)]


@pytest.mark.parametrize("shares", [2, 3])
def test_what_comes_later_moves_no_query_within_its_share(shares: int) -> None:
    whole = shares_of(60, shares)
    for events in (20, 35, 59):
        assert shares_of(events, shares) == [[q for q in queries if q < events] for queries in whole]


@pytest.mark.parametrize("shares", [1, 2, 3, 20])
def test_every_query_is_in_one_share_and_users_are_whole(shares: int) -> None:
    batch = ask(exposures(4, events=60, users=7), Drawn.none(0)).batch
    dealt = deal(batch, shares)
    assert sorted(q for _, queries in dealt for q in queries.tolist()) == list(range(60))
    for share, queries in dealt:
        assert np.array_equal(share.users[share.segment], batch.users[batch.segment[queries]])
        assert np.array_equal(share.item, batch.item[queries]) and np.array_equal(share.time, batch.time[queries])
    assert len({user for share, _ in dealt for user in share.users.tolist()}) == len(batch.users)
