import numpy as np
import pytest

from marm.errors import SettingError
from marm.metrics import auc
from marm.world import Simulation, WorldConfig, parse_effects, simulate
from marm.world.figures import ACTIVITY_MAX, ACTIVITY_P10, ACTIVITY_P90, GAPS, HOURS, RATES, SESSIONS, TOP_SHARE
from marm.world.outcomes import ACTIONS
from tests.world.replay import make

COLUMNS = ("order", "time", "user", "item", "page", "done", "ratio", "truth")


def _same(one: Simulation, other: Simulation) -> bool:
    return all(getattr(one.log, name).tobytes() == getattr(other.log, name).tobytes() for name in COLUMNS)


def test_the_same_settings_give_the_same_bytes_and_another_seed_gives_others(still: Simulation) -> None:
    assert _same(make(), still)
    assert not _same(make(seed=1), still)


def test_groups_of_users_do_not_change_a_log(still: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marm.world.log._CHUNK", 1_000)
    assert _same(make(), still)


def test_a_log_is_in_the_order_of_time_and_each_users_events_keep_theirs(large: Simulation) -> None:
    log = large.log
    assert np.all(np.diff(log.time[log.order]) >= 0)
    within = np.diff(log.user) == 0
    assert np.all(np.diff(log.time)[within] >= 0)
    by_user = log.order[np.argsort(log.user[log.order], kind="stable")]
    np.testing.assert_array_equal(by_user, np.arange(len(by_user)))


def test_every_event_has_a_user_and_every_user_an_event() -> None:
    counts = make().world.counts
    assert counts.sum() == 12_000 and counts.min() >= 1
    assert simulate(WorldConfig(users=100, items=100, events=100)).world.counts.tolist() == [1] * 100


def test_items_are_shown_once_they_are_uploaded(large: Simulation) -> None:
    uploaded = large.world.catalogue.uploaded
    assert np.all(uploaded[large.log.item] <= large.log.time)
    new = uploaded > large.log.time.min()
    assert 0.3 < new.mean() < 0.5
    assert new[large.log.item].mean() > 0.1


def test_rates_follow_the_published_ones(large: Simulation) -> None:
    for action, name in enumerate(ACTIONS):
        assert large.log.truth[:, action].mean() == pytest.approx(RATES[name], rel=0.05), name
        spread = 4 * np.sqrt(RATES[name] / 200_000)
        assert large.log.done[:, action].mean() == pytest.approx(RATES[name], rel=0.05, abs=spread), name


def test_a_long_log_keeps_the_rates_that_a_pilot_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marm.world.outcomes._PILOT", 20_000)
    log = simulate(WorldConfig(users=200, items=2_000, events=100_000)).log
    assert log.truth[:, 0].mean() == pytest.approx(RATES["click"], abs=0.02)


def test_pauses_and_sessions_follow_the_published_ones(large: Simulation) -> None:
    log = large.log
    pause = np.diff(log.time)[np.diff(log.user) == 0] / 1000
    edges = [0, *(end for end, _ in GAPS if end is not None), np.inf]
    shares = np.histogram(pause, edges)[0] / len(pause)
    np.testing.assert_allclose(shares, [share for _, share in GAPS], rtol=0.15, atol=0.002)
    assert np.mean(pause >= 1800) == pytest.approx(SESSIONS, rel=0.15)
    assert not np.any((pause > 0) & (pause < 1))


def test_activity_has_the_published_spread() -> None:
    counts = simulate(WorldConfig(users=4_000, items=500, events=200_000)).world.counts
    low, middle, high, most = np.quantile(counts, [0.1, 0.5, 0.9, 1.0])
    assert high / middle == pytest.approx(ACTIVITY_P90, rel=0.1)
    assert low / middle == pytest.approx(ACTIVITY_P10, rel=0.15)
    assert ACTIVITY_MAX / 3 < most / middle < ACTIVITY_MAX * 2


def test_few_items_take_most_exposures(large: Simulation) -> None:
    shown = np.sort(np.bincount(large.log.item))[::-1]
    shown = shown[shown > 0]
    assert TOP_SHARE - 0.2 < shown[: len(shown) // 100].sum() / shown.sum() < TOP_SHARE + 0.05
    assert 0.2 < np.mean(shown == 1) < 0.6


def test_hours_of_the_day_follow_the_published_curve(large: Simulation) -> None:
    hours = np.bincount(large.log.time // 3_600_000 % 24, minlength=24)
    assert np.corrcoef(hours, HOURS)[0, 1] > 0.9


def test_a_user_too_active_for_the_calendar_stays_within_it() -> None:
    log = simulate(WorldConfig(users=2, items=500, events=60_000, days=3)).log
    assert log.time.max() - log.time.min() <= 3 * 86_400_000
    within = np.diff(log.user) == 0
    pause = np.diff(log.time)[within]
    assert np.mean(pause == 0) == pytest.approx(0.828, abs=0.01)
    assert pause.min() >= 0 and pause[pause > 0].min() >= 1000


def test_the_truth_is_calibrated_and_tells_clicks_apart(large: Simulation) -> None:
    chance, click = large.log.truth[:, 0], large.log.done[:, 0]
    for rows in np.array_split(np.argsort(chance), 10):
        assert chance[rows].mean() == pytest.approx(click[rows].mean(), abs=0.016)
    assert auc(chance, click.astype(np.float32)) > 0.8
    rare = large.log.truth[:, 2]
    assert auc(rare, large.log.done[:, 2].astype(np.float32)) > 0.8


def test_everything_else_happens_on_clicked_exposures_only(large: Simulation) -> None:
    clicked = large.log.done[:, 0] == 1
    assert not large.log.done[~clicked].any()
    assert np.all(large.log.truth[:, 1:5] < large.log.truth[:, :1])


def test_the_expected_watch_ratio_is_the_mean_of_watch_ratios(large: Simulation) -> None:
    expected, ratio = large.log.truth[:, 5], large.log.ratio
    assert ratio.min() >= 0
    assert ratio.max() <= 2
    for rows in np.array_split(np.argsort(expected), 5):
        assert expected[rows].mean() == pytest.approx(ratio[rows].mean(), rel=0.03)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"effects": ("drfit",)}, "did you mean drift"),
        ({"effects": ("colour",)}, "choose among drift, satiation, order, long"),
        ({"users": 0}, "users = 0: give at least 1"),
        ({"interest_length": float("nan")}, "interest_length = nan"),
        ({"events": 10}, "at least one event a user"),
        ({"effects": ("long",)}, "--long-period 40"),
        ({"effects": ("long",), "events": 10_000_000, "items": 200}, "200 items are too few"),
    ],
)
def test_settings_that_make_no_world_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        WorldConfig(**settings)  # type: ignore[arg-type]


def test_effects_are_read_from_a_list_with_commas() -> None:
    assert parse_effects("order, drift") == ("drift", "order")
    assert parse_effects("") == ()
