import json
import math

import numpy as np
import pytest

from marm.metrics import (
    Spool,
    auc,
    calibration,
    calibration_table,
    gauc,
    last_fifth,
    logloss,
    mae,
    normalized_entropy,
    per_event_auc,
    rmse,
    summarise,
)

KINDS = {"click": "binary", "seconds": "regression"}


def fill(path, events=2000, drawn=0, seed=3, levels=None):
    """A spool of events, each followed by its drawn rows; and its columns."""
    draw = np.random.default_rng(seed)
    rows = events * (1 + drawn)
    number = np.repeat(np.arange(events), 1 + drawn) + 10
    is_drawn = np.arange(rows) % (1 + drawn) > 0
    user = np.repeat(draw.integers(0, 60, events), 1 + drawn).astype(np.uint64)
    score = draw.random(rows, dtype=np.float32)
    score = score if levels is None else (np.ceil(score * levels) / levels).astype(np.float32)
    click = (draw.random(rows) < score).astype(np.float32)
    click = np.where(is_drawn, 0, 1 if drawn else click).astype(np.float32)
    click[draw.random(rows) < 0.1] = math.nan
    seconds = draw.gamma(2, 5, rows).astype(np.float32)
    scores, labels = np.stack([score, score * 20], axis=1), np.stack([click, seconds], axis=1)
    spool = Spool(path, ["click", "seconds"])
    spool.append(number, user, number, is_drawn, scores, labels)
    spool.close()
    return spool, user, number, is_drawn, scores, labels


def test_a_summary_holds_the_figures_of_its_range(tmp_path):
    spool, user, _, _, scores, labels = fill(tmp_path / "spool")
    lo, hi = 300, 1900
    found = summarise(spool, KINDS, lo, hi)
    score, label, who = scores[lo:hi, 0], labels[lo:hi, 0], user[lo:hi]
    whole = gauc(who, score, label)
    assert found["click"] == {
        "gauc": pytest.approx(whole.value),
        "users": whole.users_used,
        "users_left_out": whole.users_left_out,
        "auc": pytest.approx(auc(score, label)),
        "logloss": pytest.approx(logloss(score, label)),
        "ne": pytest.approx(normalized_entropy(score, label)),
        "calibration": pytest.approx(calibration(score, label)),
        "positives": int(np.nansum(label)),
        "events": int((~np.isnan(label)).sum()),
        "drawn": 0,
    }
    number, truth = scores[lo:hi, 1], labels[lo:hi, 1]
    assert found["seconds"] == {
        "rmse": pytest.approx(rmse(number, truth)),
        "mae": pytest.approx(mae(number, truth)),
        "events": 1600,
    }


@pytest.mark.parametrize("levels", [None, 3, 1])
def test_a_summary_in_small_parts_equals_one_in_memory(tmp_path, levels):
    spool, *_ = fill(tmp_path / "spool", events=900, drawn=2, levels=levels)
    whole = summarise(spool, KINDS, 0, len(spool), bins=5)
    parts = summarise(spool, KINDS, 0, len(spool), bins=5, part=70)
    for task, figures in whole.items():
        bins = [figures.pop("calibration_bins", []), parts[task].pop("calibration_bins", [])]
        for one, other in zip(*bins, strict=True):
            assert one == pytest.approx(other)
        assert parts[task] == pytest.approx(figures, rel=1e-12)
    assert whole["click"]["users"] == 60
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_drawn_rows_bring_per_event_auc_and_are_no_events(tmp_path):
    spool, _, number, is_drawn, scores, labels = fill(tmp_path / "spool", events=400, drawn=3)
    found = summarise(spool, KINDS, 0, len(spool))
    click = found["click"]
    known = ~np.isnan(labels[:, 0])
    assert click["per_event_auc"] == pytest.approx(per_event_auc(number, scores[:, 0], labels[:, 0]))
    assert click["events"] == int((known & ~is_drawn).sum())
    assert click["drawn"] == int((known & is_drawn).sum())
    assert found["seconds"]["events"] == 400
    assert found["seconds"]["mae"] == pytest.approx(mae(scores[~is_drawn, 1], labels[~is_drawn, 1]))


def test_calibration_bins_are_the_table(tmp_path):
    spool, _, _, _, scores, labels = fill(tmp_path / "spool")
    bins = summarise(spool, KINDS, 0, len(spool), bins=8)["click"]["calibration_bins"]
    table = calibration_table(scores[:, 0], labels[:, 0], 8)
    assert [row["count"] for row in bins] == table.counts.tolist()
    assert [row["observed"] for row in bins] == pytest.approx(table.observed.tolist())


def test_undefined_figures_are_none_in_json(tmp_path):
    spool = Spool(tmp_path / "spool", ["click", "seconds"])
    one, none = np.array([1]), np.full((1, 2), math.nan, np.float32)
    spool.append(one, one.astype(np.uint64), one, one == 0, np.full((1, 2), 0.5, np.float32), none)
    nothing = summarise(spool, KINDS, 0, 1)
    assert nothing["click"] == {
        **dict.fromkeys(("gauc", "auc", "logloss", "ne", "calibration")),
        **dict.fromkeys(("positives", "events", "drawn", "users", "users_left_out"), 0),
    }
    assert nothing["seconds"] == {"rmse": None, "mae": None, "events": 0}
    assert summarise(spool, KINDS, 0, 0) == nothing
    spool.append(one, one.astype(np.uint64), one, one == 0, none, np.array([[1, 3]], np.float32))
    spool.close()
    lost = summarise(spool, KINDS, 0, 2, bins=3)
    json.dumps(lost, allow_nan=False)
    assert (lost["click"]["logloss"], lost["seconds"]["rmse"], lost["click"]["positives"]) == (None, None, 1)


@pytest.mark.parametrize(("events", "drawn", "wanted"), [(10, 0, 8), (10, 4, 40), (7, 0, 5), (1, 2, 0), (0, 0, 0)])
def test_the_last_fifth_begins_at_a_real_event(tmp_path, events, drawn, wanted):
    spool, *_ = fill(tmp_path / "spool", events=events, drawn=drawn)
    assert last_fifth(spool) == wanted
