"""The figures of a run from its spooled predictions, in bounded memory whatever their number."""

import math
from typing import Any

import numpy as np

from marm.metrics.parts import by_score, by_user, chunks
from marm.metrics.probability import CLIP, bin_sums, entropy, table_of
from marm.metrics.ranking import group_aucs
from marm.metrics.runs import Runs
from marm.metrics.spool import Records, Spool
from marm.types import F64

PART = 4_000_000
"""Records held at a time: some hundred MB."""


def summarise(
    spool: Spool, kinds: dict[str, str], lo: int, hi: int, *, bins: int = 0, part: int = PART
) -> dict[str, dict[str, Any]]:
    """Figures of records ``lo`` to ``hi`` for each task of ``kinds`` ("binary" or "regression"); None: undefined.

    binary: gauc, auc, logloss, ne, calibration, positives, events, drawn, users, users_left_out; with drawn rows also
    per_event_auc; with ``bins`` also calibration_bins. regression: rmse, mae, events. ``events`` counts labelled rows
    of the log, ``positives`` and ``drawn`` labelled rows; the other figures are over log rows and drawn rows together.
    """
    places = {name: spool.tasks.index(name) for name in kinds}
    binary = {name: place for name, place in places.items() if kinds[name] == "binary"}
    out: dict[str, dict[str, Any]] = {name: {} for name in kinds}
    orders = {name: _Order() for name in binary}
    if binary:
        for records in by_user(spool, lo, hi, part):
            for name, place in binary.items():
                orders[name].add(records, place)
    for name, place in places.items():
        if name in binary:
            out[name] = orders[name].figures() | _probabilities(spool, place, lo, hi, bins, part)
        else:
            out[name] = _errors(spool, place, lo, hi, part)
    return out


def last_fifth(spool: Spool) -> int:
    """The first record of the last 20 % of the events of the log (rounded up), drawn rows not counted."""
    step = 1_000_000
    real = [int(np.count_nonzero(records["drawn"] == 0)) for records in chunks(spool, 0, len(spool), step)]
    skipped = sum(real) * 4 // 5
    for number, count in enumerate(real):
        if skipped < count:
            drawn = spool.read(number * step, min((number + 1) * step, len(spool)))["drawn"]
            return number * step + int(np.flatnonzero(drawn == 0)[skipped])
        skipped -= count
    return len(spool)


class _Order:
    """What is counted within users and within events, over parts that hold users whole."""

    def __init__(self) -> None:
        self.weighted: list[float] = []
        self.weight = self.users = self.left_out = self.events = self.drawn = 0
        self.event_aucs: list[float] = []
        self.event_count = 0

    def add(self, records: Records, task: int) -> None:
        """Count a part."""
        here = ~np.isnan(records["labels"][:, task])
        records = records[here]
        scores, labels = records["scores"][:, task], records["labels"][:, task]
        drawn = int(np.count_nonzero(records["drawn"]))
        groups = group_aucs(records["user"], scores, labels)
        self.weighted.append(groups.weighted())
        self.weight += int(groups.sizes.sum())
        self.users += len(groups.aucs)
        self.left_out += groups.left_out
        self.events += len(records) - drawn
        self.drawn += drawn
        if drawn:
            self._add_events(records, task)

    def _add_events(self, records: Records, task: int) -> None:
        aucs = group_aucs(
            records["number"].view(np.uint64), records["scores"][:, task], records["labels"][:, task]
        ).aucs
        self.event_aucs.append(float(aucs.sum()))
        self.event_count += len(aucs)

    def figures(self) -> dict[str, Any]:
        """The figures so far."""
        out: dict[str, Any] = {
            "gauc": _number(math.fsum(self.weighted), self.weight),
            "users": self.users,
            "users_left_out": self.left_out,
            "events": self.events,
            "drawn": self.drawn,
        }
        if self.drawn:
            out["per_event_auc"] = _number(math.fsum(self.event_aucs), self.event_count)
        return out


class _Truth:
    """What is counted over all rows, over runs in rising score."""

    def __init__(self, rows: int, bins: int) -> None:
        self.rows, self.bins = rows, bins
        self.positives = self.negatives = self.wins2 = 0
        self.loss = self.predicted = 0.0
        self.sums: F64 = np.zeros((max(bins, 1), 3))

    def add(self, runs: Runs) -> None:
        """Count the next runs."""
        scores, p = runs.scores(), np.clip(runs.scores(), CLIP, 1 - CLIP)
        self.wins2 += runs.wins2(self.negatives)
        if self.bins:
            self.sums += bin_sums(runs, self.positives + self.negatives, self.rows, self.bins)
        self.loss -= float(np.sum(runs.positives * np.log(p) + runs.negatives * np.log1p(-p)))
        self.predicted += float(np.sum((runs.positives + runs.negatives) * scores))
        self.positives += int(runs.positives.sum())
        self.negatives += int(runs.negatives.sum())

    def figures(self) -> dict[str, Any]:
        """The figures of all rows."""
        logloss = _number(self.loss, self.rows)
        base = entropy(self.positives, self.rows)
        out: dict[str, Any] = {
            "auc": _number(self.wins2 / 2, self.positives * self.negatives),
            "logloss": logloss,
            "ne": _number(logloss, base) if logloss is not None else None,
            "calibration": _number(self.predicted, self.positives),
            "positives": self.positives,
        }
        if not math.isfinite(self.predicted):
            return out | {"auc": None}
        if self.bins:
            table = table_of(self.sums)
            pairs = zip(table.predicted.tolist(), table.observed.tolist(), table.counts.tolist(), strict=True)
            out["calibration_bins"] = [dict(zip(("predicted", "observed", "count"), row, strict=True)) for row in pairs]
        return out


def _probabilities(spool: Spool, task: int, lo: int, hi: int, bins: int, part: int) -> dict[str, Any]:
    rows = sum(int((~np.isnan(records["labels"][:, task])).sum()) for records in chunks(spool, lo, hi, part))
    truth = _Truth(rows, bins)
    for runs in by_score(spool, task, lo, hi, part):
        truth.add(runs)
    return truth.figures()


def _errors(spool: Spool, task: int, lo: int, hi: int, part: int) -> dict[str, Any]:
    squares, sizes, rows = [], [], 0
    for records in chunks(spool, lo, hi, part):
        error = records["scores"][:, task].astype(np.float64) - records["labels"][:, task]
        error = error[~np.isnan(records["labels"][:, task]) & (records["drawn"] == 0)]
        squares.append(float(np.sum(error**2)))
        sizes.append(float(np.abs(error).sum()))
        rows += len(error)
    square = _number(math.fsum(squares), rows)
    return {
        "rmse": None if square is None else math.sqrt(square),
        "mae": _number(math.fsum(sizes), rows),
        "events": rows,
    }


def _number(above: float, below: float) -> float | None:
    """A quotient that JSON can hold; None where it has no value."""
    return above / below if below and math.isfinite(above) else None
