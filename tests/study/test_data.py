"""A late start and half of the samples are compared with the whole on the same events, window by window."""

import json
from pathlib import Path

import polars as pl
import pytest

from marm.errors import SettingError
from marm.study.data import Curve, study_data
from marm.study.data_page import table, write_page
from marm.study.interval import Difference
from tests.study.test_rivals import show
from tests.train.folders import predictions
from tests.train.logs import log_frame, run_over, write_world


def test_the_three_are_compared_on_the_same_events_from_the_late_start_on(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", log_frame(events=320, users=4))
    run = run_over(world, model={"layers": 2}, train={"cut_every": 10**6, "micro_batch": 32})
    found = study_data(run, tmp_path / "out", show, 0.5, 0.5, 4, 2)
    assert found.bounds == [160, 200, 240, 280, 320]
    folders = {one.name: one.folder for one in found.trained if one.result["seed"] == 0}
    assert list(folders) == ["warm", "50% of samples", "cold"]
    warm, half, cold = (predictions(folder) for folder in folders.values())
    assert cold["row"].to_list() == warm["row"].to_list()[160:] and len(half) == len(warm) == 320
    assert cold["user"].to_list() == warm["user"].to_list()[160:]
    first = cold[:32].select(pl.selectors.starts_with("score_click").n_unique()).item()
    assert first > 1 and not half["score_click"].equals(warm["score_click"])
    curves = {one.name: one for one in found.curves["click"]}
    assert [gap.value for gap in curves["warm"].above_warm] == [0, 0, 0, 0]
    assert all(len(one.gauc) == 4 and all(0 < value < 1 for value in one.gauc) for one in curves.values())
    lines = [json.loads(line) for line in (tmp_path / "out" / "windows.jsonl").read_text().splitlines()]
    assert [line["gauc"] for line in lines if line["model"] == "cold"] == curves["cold"].gauc
    page = write_page(tmp_path / "out", found).read_text()
    assert page.count("<svg") == 6 and "cold meets warm after" in table(found)
    with pytest.raises(SettingError, match="leaves 16 of 320"):
        study_data(run, tmp_path / "out", show, 0.95, 0.5, 20, 2)


def test_a_curve_meets_where_it_is_never_again_clearly_below() -> None:
    def curve(*high: float) -> Curve:
        return Curve("cold", [0.5] * len(high), [Difference(h - 0.1, h - 0.2, h) for h in high])

    assert curve(-0.1, -0.1, 0.1, 0.2).meets() == 2
    assert curve(-0.1, 0.1, -0.1, 0.2).meets() == 3
    assert curve(0.1, 0.1).meets() == 0 and curve(0.1, -0.1).meets() is None
