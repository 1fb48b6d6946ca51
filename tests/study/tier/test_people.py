"""People come as their settings say, and a log's habits are found again."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from marm.study.tier.people import DAY, habits_of, requests_of
from marm.study.tier.settings import People

PEOPLE = People(users=1000, events=200_000, skew=0.7, session=40, session_spread=0.5, request=4)


def test_people_show_as_many_events_as_they_should_and_at_their_hours() -> None:
    found = requests_of(PEOPLE, 3000, 4)
    assert (np.diff(found.time) >= 0).all() and found.time.min() >= 0 and found.time.max() < 4 * DAY
    # Sessions that the last midnight cuts off are missing.
    assert found.events.sum() / 3000 / 4 == pytest.approx(200, rel=0.06)
    assert found.events.mean() == pytest.approx(4, rel=0.02)
    hours = np.bincount((found.time // 3600 % 24).astype(int), minlength=24)
    assert hours.argmin() in (3, 4, 5) and hours.max() / hours.mean() == pytest.approx(PEOPLE.peak, rel=0.1)


def test_the_habits_of_a_log_are_those_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Short sessions, so that few touch, and many of each user, so that zeal is what their numbers differ by.
    people = PEOPLE.model_copy(update={"events": 40_000, "session": 12})
    found = requests_of(people, 1000, 40, seed=1)
    user, time = np.repeat(found.user, found.events), np.repeat(found.time, found.events) * 1e6
    part = SimpleNamespace(user=user.astype(np.uint64), time=time.astype(np.int64))
    log = SimpleNamespace(parts=lambda: [(0, len(user))], read=lambda _low, _high: part)
    monkeypatch.setattr("marm.study.tier.people.EventLog", lambda _folder: log)
    habits = habits_of(Path("run"))
    assert habits["skew"] == pytest.approx(0.7, rel=0.15)
    assert habits["request"] == pytest.approx(4, rel=0.03)
    assert habits["session"] == pytest.approx(12, rel=0.2)
    told = People(**habits)  # type: ignore[arg-type]
    assert told.peak == pytest.approx(PEOPLE.peak, rel=0.1)
    weight = np.array(told.pauses)[:, 2] / np.array(told.pauses)[:, 2].sum()
    assert weight == pytest.approx(np.array(PEOPLE.pauses)[:, 2] / np.array(PEOPLE.pauses)[:, 2].sum(), abs=0.05)
