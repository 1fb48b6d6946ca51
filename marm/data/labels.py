"""Outcomes of a log as labels: one float32 for each task, NaN where nothing was observed."""

import numpy as np
import polars as pl

from marm.config import RunConfig, TaskConfig
from marm.data.columns import as_number
from marm.data.ids import as_text
from marm.data.trouble import Chunk, TroubleError
from marm.types import F32, F64, I64


def label(chunk: Chunk, name: str, task: TaskConfig) -> F32:
    """One task's labels (n,). Errors: a value that a plain binary column may not hold, text that is no number."""
    if task.every_row:
        return _every_row(chunk, task.column)
    assert task.column is not None
    if task.equals is not None:
        return _equals(chunk, task.column, task.equals)
    number = _divided(chunk, name, task)
    if task.at_least is not None:
        number = np.where(np.isnan(number), np.nan, number >= task.at_least)
    elif task.kind == "binary":
        bad = ~(np.isnan(number) | (number == 0) | (number == 1))
        if bad.any():
            remedy = f'set tasks.{name}.at_least or tasks.{name}.equals, or kind = "regression"'
            raise chunk.trouble("binary", task.column, bad, "is neither 0 nor 1", remedy)
    # What no float32 holds is as little observed as what is infinite.
    return np.where(np.abs(number) > np.finfo(np.float32).max, np.nan, number).astype(np.float32)


def columns_of(task: TaskConfig) -> list[str]:
    """Columns of the log that a task reads."""
    return [column for column in (task.column, task.divide_by) if column is not None]


def _every_row(chunk: Chunk, column: str | None) -> F32:
    observed = np.ones(len(chunk.row), bool) if column is None else chunk.frame[column].is_not_null().to_numpy()
    return np.where(observed, 1.0, np.nan).astype(np.float32)


def _divided(chunk: Chunk, name: str, task: TaskConfig) -> F64:
    assert task.column is not None
    remedy = "write null where nothing was observed, or leave such rows out with data.where"
    if task.kind == "binary" and task.divide_by is None:
        remedy += f"; where it is text, set tasks.{name}.equals to the one that is positive"
    number = as_number(chunk, task.column, remedy)
    if task.divide_by is None:
        return number
    by = as_number(chunk, task.divide_by, remedy)
    good = (by != 0) & ~np.isnan(by)
    with np.errstate(over="ignore"):
        return np.where(good, number / np.where(good, by, 1.0), np.nan)


def _equals(chunk: Chunk, column: str, wanted: bool | int | float | str) -> F32:
    series = chunk.frame[column]
    # true and 1 are the same outcome, whichever of the two the log and the run file use.
    if series.dtype == pl.Boolean and not isinstance(wanted, (bool, str)):
        wanted = bool(wanted) if wanted in (0, 1) else wanted
    elif series.dtype.is_numeric() and isinstance(wanted, bool):
        wanted = int(wanted)
    value = as_text(pl.Series([wanted]))[0]
    hit = (as_text(series) == value).cast(pl.Float32).fill_null(np.nan)
    out: F32 = hit.to_numpy()
    return out


class Tally:
    """What labels and times of a whole log come to."""

    def __init__(self, tasks: list[str]) -> None:
        self.tasks = tasks
        self.rows = 0
        self.first_time = 0
        self.last_time = 0
        self.observed = np.zeros(len(tasks), np.int64)
        self.sums = np.zeros(len(tasks))

    def add(self, time: I64, labels: F32) -> None:
        """Count a block of the stream: times (n,) in order and labels (n, T)."""
        if not self.rows:
            self.first_time = int(time[0])
        self.rows += len(time)
        self.last_time = int(time[-1])
        self.observed += (~np.isnan(labels)).sum(axis=0)
        self.sums += np.nansum(labels, axis=0, dtype=np.float64)

    def troubles(self, run: RunConfig, log: str) -> list[TroubleError]:
        """An empty log, and tasks of which nothing can be learned."""
        if not self.rows:
            found = f"{log}: empty log (no rows" + (f" with {run.data.where})" if run.data.where else ")")
            return [TroubleError("empty log", "", found, "set data.log to one with rows, or mend data.where")]
        all_tasks = [self._task_trouble(at, name, run.tasks[name]) for at, name in enumerate(self.tasks)]
        return [trouble for trouble in all_tasks if trouble is not None]

    def _task_trouble(self, at: int, name: str, task: TaskConfig) -> TroubleError | None:
        observed, positive = int(self.observed[at]), self.sums[at]
        if not observed:
            found = f"tasks.{name}: no row has a value of {task.column}"
            return TroubleError("one class", name, found, "drop the task, or name another column")
        if task.kind == "regression" or task.every_row or 0 < positive < observed:
            return None
        all_same = "positive" if positive else "negative"
        found = f"tasks.{name}: all {observed:,} rows are {all_same}, so there is nothing to tell apart"
        remedy = "mend at_least or equals, or set every_row = true with negatives.per_event = 4"
        return TroubleError("one class", name, found, remedy)
