"""A run folder as a report reads it: whatever is there, in any state of completion."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.errors import FolderError
from marm.metrics import calibration_table
from marm.report.text import mapping, number
from marm.types import F64

SAMPLE = 2_000_000
"""Predictions looked at for calibration where ``result.json`` holds no bins."""


@dataclass(frozen=True)
class Run:
    """What a run folder tells."""

    name: str
    result: dict[str, Any] = field(default_factory=dict)
    windows: list[dict[str, Any]] = field(default_factory=list)
    folder: Path | None = None

    def task_names(self) -> list[str]:
        """Tasks in the order they are first spoken of."""
        places = [self.result.get("tasks"), self.result.get("whole"), *(w.get("tasks") for w in self.windows[:1])]
        return list(dict.fromkeys(name for place in places for name in mapping(place)))

    def over_time(self, *path: str) -> F64:
        """A figure of each window; NaN where a window has none."""
        return np.array([number(_at(window, path)) for window in self.windows], np.float64)

    def depths_over_time(self, name: str) -> list[F64]:
        """A figure of each depth for each window."""
        rows = [value if isinstance(value := window.get(name), list) else [] for window in self.windows]
        depths = max((len(row) for row in rows), default=0)
        return [np.array([number(row[i]) if i < len(row) else np.nan for row in rows]) for i in range(depths)]

    def calibration_bins(self, task: str) -> tuple[F64, F64]:
        """Predicted and observed means of bins of rising score; from the result, else from the predictions."""
        bins = _at(self.result, ("tasks", task, "calibration_bins"))
        if isinstance(bins, list):
            rows = [mapping(row) for row in bins]
            columns = ([number(row.get(name)) for row in rows] for name in ("predicted", "observed"))
            predicted, observed = (np.array(column, np.float64) for column in columns)
            return predicted, observed
        return _predicted(self.folder / "predictions.parquet", task) if self.folder else (np.zeros(0), np.zeros(0))


def read_run(folder: Path, name: str = "") -> Run:
    """Read a run folder; missing files are empty. ``FolderError`` for a file that is there and not JSON."""
    return Run(
        name or folder.resolve().name, _result(folder / "result.json"), _windows(folder / "metrics.jsonl"), folder
    )


def _result(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return mapping(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise FolderError(f"{path}: not JSON ({error}): `marm resume` writes it again") from None


def _windows(path: Path) -> list[dict[str, Any]]:
    """Whole lines; the last may be torn while a run writes on, or after it died."""
    if not path.exists():
        return []
    windows = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        try:
            windows.append(mapping(json.loads(line)))
        except ValueError as error:
            if at < len(lines) - 1:
                raise FolderError(f"{path}, line {at + 1}: not JSON ({error}): `marm resume` writes it again") from None
    return windows


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = mapping(value).get(name)
    return value


def _predicted(path: Path, task: str) -> tuple[F64, F64]:
    none = np.zeros(0), np.zeros(0)
    if not path.exists():
        return none
    frame = pl.scan_parquet(path)
    names = frame.collect_schema().names()
    score, label = (
        next((n for n in (f"{task}_{kind}", f"{kind}_{task}") if n in names), "") for kind in ("score", "label")
    )
    if not (score and label):
        return none
    frame = frame.select(score=pl.col(score).cast(pl.Float32), label=pl.col(label).cast(pl.Float32)).drop_nulls()
    rows = frame.select(pl.len()).collect().item()
    seen = frame.gather_every(-(-max(rows, 1) // SAMPLE)).collect()
    table = calibration_table(seen["score"].to_numpy(), seen["label"].to_numpy(), 20)
    return table.predicted, table.observed
