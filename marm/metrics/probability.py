"""How true scores are as probabilities, and numbers as numbers."""

import math
from dataclasses import dataclass

import numpy as np

from marm.metrics.runs import Runs, labelled, runs_of, score_codes, sorted_keys
from marm.types import F32, F64, I64

CLIP = 1e-7
"""Probabilities are held this far from 0 and 1, about a float32's resolution at 1."""


@dataclass(frozen=True)
class CalibrationTable:
    """Bins of rising score with about equally many rows."""

    predicted: F64
    """Mean score of each bin."""
    observed: F64
    """Share of positives of each bin."""
    counts: I64


def logloss(scores: F32 | F64, labels: F32) -> float:
    """Log loss = -mean(y log p + (1 - y) log(1 - p)), natural logarithm; NaN without a labelled row."""
    here = labelled(labels)
    if not here.any():
        return math.nan
    return loss_sum(scores[here], labels[here]) / int(here.sum())


def loss_sum(scores: F32 | F64, labels: F32) -> float:
    """Sum of the log losses of labelled rows."""
    p = np.clip(scores.astype(np.float64), CLIP, 1 - CLIP)
    return float(-np.sum(np.log(np.where(labels > 0.5, p, 1 - p))))


def normalized_entropy(scores: F32 | F64, labels: F32) -> float:
    """NE = log loss / entropy of the base rate: 1 says no more than the base rate does; NaN for one class.

    He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook", equation 3.
    """
    here = labelled(labels)
    base = entropy(int((labels[here] > 0.5).sum()), int(here.sum()))
    return logloss(scores, labels) / base if base else math.nan


def entropy(positives: int, rows: int) -> float:
    """Entropy in nats of a base rate; 0 for one class or no rows."""
    if positives in (0, rows):
        return 0.0
    rate = positives / rows
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def calibration(scores: F32 | F64, labels: F32) -> float:
    """Mean predicted / mean observed: 1 is right, above 1 promises too much; NaN without a positive.

    He et al. 2014, section 3: "the ratio of the average estimated CTR and empirical CTR".
    """
    here = labelled(labels)
    positives = int((labels[here] > 0.5).sum())
    return float(scores[here].sum(dtype=np.float64)) / positives if positives else math.nan


def calibration_table(scores: F32 | F64, labels: F32, bins: int = 20) -> CalibrationTable:
    """Predicted and observed means of bins of equally many rows; equal scores stay together, empty bins are dropped."""
    here = labelled(labels)
    runs = runs_of(sorted_keys(score_codes(scores[here].astype(np.float32)), labels[here] > 0.5))
    sums = bin_sums(runs, 0, int(here.sum()), bins)
    return table_of(sums)


def bin_sums(runs: Runs, below: int, rows: int, bins: int) -> F64:
    """(bins, 3) sums of score, positives and rows of runs that have ``below`` of all ``rows`` under them."""
    counts = runs.positives + runs.negatives
    middle = below + np.cumsum(counts) - counts / 2
    at = np.minimum((middle * bins / max(rows, 1)).astype(np.int64), bins - 1)
    weights = (runs.scores() * counts, runs.positives, counts)
    return np.stack([np.bincount(at, weight, bins) for weight in weights], axis=1)


def table_of(sums: F64) -> CalibrationTable:
    """Means of the bins that hold rows."""
    full = sums[sums[:, 2] > 0]
    return CalibrationTable(full[:, 0] / full[:, 2], full[:, 1] / full[:, 2], full[:, 2].astype(np.int64))


def rmse(scores: F32 | F64, labels: F32) -> float:
    """RMSE = sqrt(mean((prediction - label)^2)), in the label's unit; NaN without a labelled row."""
    here = labelled(labels)
    return math.sqrt(_mean_of((scores[here].astype(np.float64) - labels[here]) ** 2))


def mae(scores: F32 | F64, labels: F32) -> float:
    """MAE = mean(|prediction - label|), in the label's unit; NaN without a labelled row."""
    here = labelled(labels)
    return _mean_of(np.abs(scores[here].astype(np.float64) - labels[here]))


def _mean_of(errors: F64) -> float:
    return float(errors.mean()) if len(errors) else math.nan
