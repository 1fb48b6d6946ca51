"""A planted law is found, with intervals that hold it; a study of a tiny grid is trained, fitted and shown."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from marm.errors import SettingError
from marm.study.law import Places, fit, fit_law
from marm.study.plan import read_study
from marm.study.scaling import Grid, study_scaling
from marm.study.scaling_page import table, write_page
from marm.types import F64
from tests.study.test_rivals import show
from tests.train.logs import log_frame, run_over, write_world

X = np.geomspace(100, 100_000, 24)


def places(x: F64, layers: ArrayLike = 1, picked: ArrayLike = 0) -> Places:
    return Places(x, np.broadcast_to(np.float64(layers), x.shape), np.broadcast_to(np.float64(picked), x.shape))


def test_a_planted_law_is_found_and_foretells_places_that_were_held_out() -> None:
    exact = fit_law(places(X), 0.75 - 0.6 * X**-0.35)
    assert (exact.a, exact.b, exact.c) == pytest.approx((0.75, -0.6, -0.35), rel=1e-6)
    noise = np.random.default_rng(2).normal(0, 0.001, len(X))
    found = fit(places(X), 0.75 - 0.6 * X**-0.35 + noise)
    for name, value in (("a", 0.75), ("b", -0.6), ("c", -0.35)):
        low, high = found.interval(name)
        assert low < value < high and high - low < 0.5
    assert found.held_out < 0.0015 < 0.01 < found.spread
    low, high = found.band(places(X))
    assert (low <= found.law.at(places(X)) + 0.001).all() and (high - low).max() < 0.01


def test_without_a_law_nothing_is_foretold_better_than_by_the_mean() -> None:
    found = fit(places(X), 0.7 + np.random.default_rng(1).normal(0, 0.01, len(X)))
    assert found.held_out > 0.9 * found.spread


def test_a_place_is_foretold_by_the_law_of_all_others() -> None:
    x, y = X[::4], 0.75 - 0.6 * X[::4] ** -0.35 + np.array([0.0, 0.002, -0.001, 0.003, 0.0, -0.002])
    wrong, mean = [], []
    for out in range(len(x)):
        kept = [i for i in range(len(x)) if i != out]
        law = fit_law(places(x[kept]), y[kept])
        wrong.append(y[out] - law.a - law.b * x[out] ** law.c)
        mean.append(y[out] - sum(y[kept]) / len(kept))
    found = fit(places(x), y)
    assert found.held_out == pytest.approx(np.sqrt(np.mean(np.square(wrong))))
    assert found.spread == pytest.approx(np.sqrt(np.mean(np.square(mean))))


def test_a_grid_is_trained_fitted_and_shown(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", log_frame(events=160))
    run = run_over(world, train={"cut_every": 10**6, "micro_batch": 32})
    found = study_scaling(run, tmp_path / "out", show, Grid([1, 2], [4, 12], [4, 8]))
    assert [place.size.numbers for place in found.places] == [16, 32, 48, 96, 32, 64, 96, 192]
    assert [place.bytes for place in found.places] == [0, 0, 0, 0, 32, 64, 96, 192]
    lines = [json.loads(line) for line in (tmp_path / "out" / "places.jsonl").read_text().splitlines()]
    assert [line["gauc"] for line in lines] == [place.gauc for place in found.places]
    assert found.places[0].trained[0].result["tasks"]["click"]["gauc"] == found.places[0].gauc
    law = json.loads((tmp_path / "out" / "law.jsonl").read_text())
    assert law["c"][0] == found.fit.law.c and law["c"][1] <= law["c"][2]
    text = write_page(tmp_path / "out", found).read_text()
    assert text.count("<svg") == 8 and "L = 2" in text
    assert len(table(found).splitlines()) == 2 + 8 + 2
    assert "2 layers of n rows less one of 2 n: " in table(found)
    with pytest.raises(SettingError, match="5 places"):
        study_scaling(run, tmp_path / "few", show, Grid([1, 2], [4], [8]))


def test_what_a_search_brings_is_told_apart_from_what_numbers_bring() -> None:
    at = places(np.repeat(X, 3), picked=np.tile([0.0, 10.0, 100.0], len(X)))
    for e in (0.01, -0.004):
        y = 0.75 - 0.6 * at.numbers**-0.35 + e * np.log1p(at.picked)
        found = fit(at, y)
        assert (found.law.a, found.law.b, found.law.c, found.law.e) == pytest.approx((0.75, -0.6, -0.35, e), rel=1e-6)
        assert found.interval("e") == pytest.approx((e, e), abs=1e-6)
        assert found.law.at(at) == pytest.approx(y)


def test_what_depth_brings_at_equal_numbers_is_told_apart_where_the_grid_can_tell() -> None:
    at = places(np.repeat(X, 3), np.tile([1.0, 2.0, 4.0], len(X)), np.tile([0.0, 30.0, 30.0, 0.0], len(X) * 3 // 4))
    y = 0.75 - 0.6 * at.numbers**-0.35 + 0.002 * np.log1p(at.picked) - 0.01 * np.log(at.layers)
    found = fit(at, y)
    law = (found.law.a, found.law.b, found.law.c, found.law.e, found.law.f)
    assert law == pytest.approx((0.75, -0.6, -0.35, 0.002, -0.01), rel=1e-6)
    assert found.formula == "GAUC = a + b C^c + e ln(1 + K) + f ln L"
    assert found.law.at(at) == pytest.approx(y)
    # Where each depth has one C, either could be what brings it.
    alone = fit(places(X[:5], [1, 2, 3, 4, 5]), 0.7 + 0.01 * np.log(X[:5]))
    assert alone.law.f == 0 and alone.letters == ["a", "b", "c"]
    assert alone.law.at(alone.places) == pytest.approx(0.7 + 0.01 * np.log(X[:5]), abs=1e-3)


def test_a_grid_has_rows_picked_by_a_search_and_none(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", log_frame(events=60))
    search = {"rule": "hash", "picked": 3, "history": 20}
    run = run_over(world, train={"cut_every": 10**6, "micro_batch": 32}, memory={"search": search})
    found = study_scaling(run, tmp_path / "out", show, Grid([1], [4, 5, 6, 7, 8], [4], [0, 2]))
    lines = [json.loads(line) for line in (tmp_path / "out" / "places.jsonl").read_text().splitlines()]
    assert [line["picked"] for line in lines] == [0, 2] * 5 and found.at.searches
    assert [line["search"] and line["search"]["picked"] for line in lines] == [None, 2] * 5
    runs = [place.trained[0].result["config"]["memory"].get("search") for place in found.places]
    assert [one and one["picked"] for one in runs] == [None, 2] * 5
    assert lines[0]["flops_per_event"] < lines[1]["flops_per_event"]
    assert "| K |" in table(found) and "; e: " in table(found)
    assert read_study(tmp_path / "out").picked == [0, 2]
    with pytest.raises(SettingError, match=r"--picked wants a rule to search by"):
        study_scaling(run_over(world), tmp_path / "none", show, Grid([1, 2], [4, 12], [4, 8], [0, 2]))
