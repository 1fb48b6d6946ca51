import math

import numpy as np
import pytest

from marm.metrics import calibration, calibration_table, logloss, mae, normalized_entropy, rmse

SCORES = np.array([0.25, 0.5, 0.75, 0.9], np.float32)
LABELS = np.array([0, 1, 1, math.nan], np.float32)


def test_logloss_of_three_known_rows():
    wanted = -(math.log(0.75) + math.log(0.5) + math.log(0.75)) / 3
    assert logloss(SCORES, LABELS) == pytest.approx(wanted, rel=1e-12)


def test_certain_and_wrong_costs_much_but_not_everything():
    assert 16 < logloss(np.array([1.0], np.float32), np.array([0], np.float32)) < 17


def test_the_base_rate_itself_has_normalized_entropy_one():
    labels = np.array([1, 0, 0, 0], np.float32)
    assert normalized_entropy(np.full(4, 0.25, np.float32), labels) == pytest.approx(1.0, rel=1e-6)
    assert normalized_entropy(np.array([0.7, 0.1, 0.1, 0.1], np.float32), labels) < 0.5


def test_calibration_is_promised_over_found():
    assert calibration(SCORES, LABELS) == pytest.approx(1.5 / 2)


def test_undefined_figures_are_not_numbers():
    none = np.full(4, math.nan, np.float32)
    assert math.isnan(logloss(SCORES, none))
    assert math.isnan(rmse(SCORES, none))
    assert math.isnan(mae(SCORES, none))
    assert math.isnan(normalized_entropy(SCORES, np.ones(4, np.float32)))
    assert math.isnan(calibration(SCORES, np.zeros(4, np.float32)))


def test_the_table_has_bins_of_equal_count_and_keeps_equal_scores_together():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5], np.float32)
    labels = np.array([0, 1, 0, 0, 1, 1, 1, 0], np.float32)
    table = calibration_table(scores, labels, bins=4)
    np.testing.assert_array_equal(table.counts, [2, 2, 4])
    np.testing.assert_allclose(table.predicted, [0.15, 0.35, 0.5], rtol=1e-6)
    np.testing.assert_allclose(table.observed, [0.5, 0.0, 0.75])


def test_errors_of_numbers():
    scores, labels = np.array([1, 2, 5, 9], np.float32), np.array([1, 4, 1, math.nan], np.float32)
    assert rmse(scores, labels) == pytest.approx(math.sqrt((0 + 4 + 16) / 3))
    assert mae(scores, labels) == pytest.approx(2.0)
