"""People stay and come back by what they were shown; their luck hangs on nobody else."""

import numpy as np
import pytest

from marm.types import I64
from marm.world import WorldConfig, make_world, slates
from marm.world.clock import START
from marm.world.outcomes import Intercepts, calibrate
from marm.world.visits import NEVER, Audience, arrivals, audience, show

HOUR = 3_600_000
WORLD = make_world(WorldConfig(users=60, items=900, events=600, seed=4))


@pytest.fixture(scope="module")
def base() -> Intercepts:
    return calibrate(WORLD)


def live(base: Intercepts, users: I64, good: bool, hours: int = 18) -> tuple[Audience, np.ndarray]:
    """Users under the best slates or under any; who they are, and a row for each slate: user, time, play time."""
    people, told = audience(WORLD, base, users), []
    for begin in range(START, START + hours * HOUR, HOUR // 30):
        rows, at = arrivals(people, begin, begin + HOUR // 30)
        if not len(rows):
            continue
        if good:
            items = slates.best(WORLD, base, people.states, rows, at, 6)
        else:
            items = slates.drawn(WORLD, people.states, rows, at, 6, 7)
        assert (items < slates.uploaded(WORLD, at)[:, None]).all()
        assert all(len(set(slate)) == 6 for slate in items.tolist())
        seen = show(WORLD, base, people, rows, at, items)
        told.append(np.stack([people.states.user[rows], at, seen.seconds.sum(1)], 1))
    return people, np.concatenate(told)


def test_a_user_lives_the_same_in_whatever_company(base: Intercepts) -> None:
    _, all_ = live(base, np.arange(60), good=False)
    _, few = live(base, np.array([7, 31, 40]), good=False)
    assert len(few) > 20
    np.testing.assert_array_equal(all_[np.isin(all_[:, 0], [7, 31, 40])], few)


def test_who_is_shown_better_things_stays_longer_and_is_in_a_better_mood(base: Intercepts) -> None:
    well, much = live(base, np.arange(60), good=True)
    badly, little = live(base, np.arange(60), good=False)
    assert len(much) > 1.15 * len(little) and much[:, 2].sum() > 1.5 * little[:, 2].sum()
    assert well.mood.mean() > 0.2 > 0 > badly.mood.mean()
    assert (badly.next == NEVER).sum() >= (well.next == NEVER).sum()


def test_time_never_falls_and_nobody_is_served_twice_at_once(base: Intercepts) -> None:
    _, told = live(base, np.arange(60), good=False)
    for user in range(60):
        mine = told[told[:, 0] == user, 1]
        assert (np.diff(mine) > 0).all()


def test_strangers_fill_the_last_places_and_every_hole() -> None:
    chosen = np.array([[5, -1, 7, 8], [1, 2, 3, 4]], np.int32)
    strangers = np.array([[7, 9, 11, 12], [6, 1, 2, 3]], np.int32)
    np.testing.assert_array_equal(slates.mixed(chosen, strangers, 1), [[5, 9, 7, 11], [1, 2, 3, 6]])


def test_an_order_is_gone_through_without_what_was_shown_of_late(base: Intercepts) -> None:
    people = audience(WORLD, base, np.arange(2))
    people.states.shown[0, [3, 4]] = [3, 4]
    order = np.array([[3, -1, 9, 4, 2]])
    np.testing.assert_array_equal(slates.firsts(people.states, np.arange(2), order, 3), [[9, 2, 3], [3, 9, 4]])
