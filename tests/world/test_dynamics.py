import numpy as np
import pytest

from marm.types import F64
from marm.world import Simulation, WorldConfig, make_world, simulate
from marm.world.dynamics import advance, appeal, dials, newcomers
from tests.world.replay import Seen, effect_of, follower, make, order, replayed, slates


def test_without_effects_a_chance_is_static_taste_alone(still: Simulation) -> None:
    log, world = still.log, still.world
    config, items, people = world.config, world.catalogue, world.people
    logit = config.user_bias * people.bias[log.user] + config.quality * items.quality[log.item]
    logit += config.taste * (people.taste[log.user] * items.vector[log.item]).sum(axis=1)
    logit += config.category_taste * people.liking[log.user, items.category[log.item]] + still.base.click
    np.testing.assert_allclose(log.truth[:, 0], 1 / (1 + np.exp(-logit)), rtol=1e-4)


@pytest.mark.parametrize("effect", ["drift", "satiation", "order"])
def test_effects_leave_the_exposures_as_they_are(still: Simulation, effect: str) -> None:
    other = make(effect)
    np.testing.assert_array_equal(other.log.item, still.log.item)
    np.testing.assert_array_equal(other.log.time, still.log.time)


def test_order_follows_what_came_after_the_category_last_time(still: Simulation) -> None:
    simulation = make("order", order=0.9)
    expected = replayed(simulation, order)
    assert np.mean(expected != 0) > 0.8
    np.testing.assert_allclose(effect_of(simulation, still), 0.9 * expected, atol=2e-3)


def test_satiation_counts_fading_repeats_of_slates_before(still: Simulation) -> None:
    simulation = make("satiation", satiation=2.0, satiation_length=5.0)
    categories, keeps = simulation.world.catalogue.category, 0.5 ** (1 / 5)
    expected = np.zeros(len(simulation.log.item))
    fatigue: dict[int, F64] = {}
    for user, first, end in slates(simulation):
        mine = fatigue.setdefault(user, np.zeros(simulation.world.config.categories))
        shown = categories[simulation.log.item[first:end]]
        expected[first:end] = -2.0 * mine[shown] / (mine[shown] + 3.0)
        mine *= keeps ** (end - first)
        np.add.at(mine, shown, 1.0)
    assert expected.std() > 0.2
    np.testing.assert_allclose(effect_of(simulation, still), expected, atol=2e-3)


def test_members_of_a_slate_do_not_see_each_other(still: Simulation) -> None:
    categories = still.world.catalogue.category
    effects = effect_of(make("satiation", "order"), still)
    several = 0
    for _, first, end in slates(still):
        shown = categories[still.log.item[first:end]]
        for category in np.unique(shown):
            alike = effects[first:end][shown == category]
            several += len(alike) > 1
            np.testing.assert_allclose(alike, alike[0], atol=4e-3)
    assert several > 500


def _by_sign(simulation: Simulation, sign: F64) -> float:
    clicks = simulation.log.done[:, 0]
    return float(clicks[sign > 0].mean() - clicks[sign < 0].mean())


def _of_another(simulation: Simulation, seen: Seen, category: int) -> float:
    """The same follower looked up for another category: as much in the history's set, but not in its order."""
    turns, after = (
        simulation.world.catalogue.turns,
        follower(seen, (category + 1) % len(simulation.world.catalogue.turns)),
    )
    return 0.0 if after is None else float(turns[category, 0] * turns[after, 1])


def test_order_shows_in_clicks_and_only_by_the_order_of_events(still: Simulation) -> None:
    simulation = make("order", order=1.5)
    assert _by_sign(simulation, replayed(simulation, order)) > 0.35
    assert abs(_by_sign(simulation, replayed(simulation, _of_another))) < 0.06
    assert abs(_by_sign(still, replayed(still, order))) < 0.06


@pytest.mark.parametrize("length", [30.0, 300.0])
def test_half_of_an_interest_is_left_after_its_length(length: float) -> None:
    config = WorldConfig(users=4_000, items=400, events=4_000, effects=("drift",), interest_length=length)
    world, users = make_world(config), np.arange(4_000)
    states = newcomers(config, users)
    before = states.interest.copy()
    slate = np.arange(10, dtype=np.int32)
    for row in range(len(users)):
        for _ in range(int(length) // 10):
            advance(dials(config), world.catalogue, states, row, slate)
    assert np.mean(before * states.interest) == pytest.approx(0.5, abs=0.03)
    assert states.interest.std() == pytest.approx(1.0, abs=0.03)


def test_drift_moves_chances_by_its_strength_and_is_the_same_within_a_slate(still: Simulation) -> None:
    simulation = make("drift", drift=1.2)
    assert effect_of(simulation, still).std() == pytest.approx(1.2, abs=0.15)


def test_appeal_reads_the_states_of_its_own_row() -> None:
    config = WorldConfig(users=4, items=400, events=400)
    world = make_world(config)
    states = newcomers(config, np.array([2, 2, 3]))
    advance(dials(config), world.catalogue, states, 0, np.array([7, 7, 7], np.int32))
    tired, fresh = (appeal(dials(config), world.catalogue, world.people, states, row, 7) for row in (0, 1))
    assert tired != fresh
    assert states.slates.tolist() == [1, 0, 0]


@pytest.fixture(scope="module")
def long() -> Simulation:
    return simulate(WorldConfig(users=20, items=1_000, events=40_000, effects=("long",), long_period=600, long=1.3))


def test_a_returning_author_comes_back_after_the_period_and_not_before(long: Simulation) -> None:
    author, returning = long.world.catalogue.author, long.world.config.returning
    events: dict[int, int] = {}
    last: dict[tuple[int, int], int] = {}
    apart = []
    for user, first, end in slates(long):
        at, shown = events.get(user, 0), set(author[long.log.item[first:end]].tolist())
        events[user] = at + end - first
        if min(shown) < returning:
            (one,) = shown
            if (user, one) in last:
                apart.append(at - last[user, one])
            last[user, one] = at
    assert len(apart) > 500
    assert min(apart) > 480 and max(apart) < 720
    assert np.mean(apart) == pytest.approx(600, rel=0.05)


def test_a_user_likes_or_dislikes_a_returning_author_for_good(long: Simulation) -> None:
    log, world = long.log, long.world
    config, items, people = world.config, world.catalogue, world.people
    logit = config.user_bias * people.bias[log.user] + config.quality * items.quality[log.item] + long.base.click
    logit += config.taste * (people.taste[log.user] * items.vector[log.item]).sum(axis=1)
    logit += config.category_taste * people.liking[log.user, items.category[log.item]]
    chance = log.truth[:, 0].astype(np.float64)
    coin = (np.log(chance / (1 - chance)) - logit) / 1.3
    returning = items.author[log.item] < config.returning
    assert 0.15 < returning.mean() < 0.25
    np.testing.assert_allclose(coin[~returning], 0.0, atol=2e-3)
    np.testing.assert_allclose(np.abs(coin[returning]), 1.0, atol=2e-3)
    assert abs(np.sign(coin[returning]).mean()) < 0.2
    pair = log.user[returning].astype(np.int64) * config.returning + items.author[log.item[returning]]
    sums, counts = np.bincount(pair, np.sign(coin[returning])), np.bincount(pair)
    np.testing.assert_array_equal(np.abs(sums), counts)
