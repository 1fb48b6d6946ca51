"""Numbers about predictions: how well they order, how true they are, and a spool that holds them."""

from marm.metrics.probability import (
    CalibrationTable,
    calibration,
    calibration_table,
    logloss,
    mae,
    normalized_entropy,
    rmse,
)
from marm.metrics.progressive import last_fifth, summarise
from marm.metrics.ranking import GaucResult, auc, gauc, gauc_interval, per_event_auc
from marm.metrics.spool import Records, Spool

__all__ = [
    "CalibrationTable",
    "GaucResult",
    "Records",
    "Spool",
    "auc",
    "calibration",
    "calibration_table",
    "gauc",
    "gauc_interval",
    "last_fifth",
    "logloss",
    "mae",
    "normalized_entropy",
    "per_event_auc",
    "rmse",
    "summarise",
]
