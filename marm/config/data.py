"""Sections about what a log holds: its columns and files, features, tasks, drawn negatives."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from marm.config.base import Settings

_LONGEST_DELAY = 1e12
"""Seconds: times and delays are counted in microseconds of 64 bits."""
MOST_CODES = 256
"""Combinations of outcomes: every one costs each query a dot product for each head and layer."""


class SideFile(Settings):
    """A second file joined to the log by id; one row for each id."""

    file: str
    """Path relative to ``data.path``; Parquet, CSV or NDJSON."""

    id: str
    """Its id column; ids compare as text."""


class DataConfig(Settings):
    """Where the log is and what its columns mean."""

    path: str = "."
    """Base folder, relative to the run file; every file below is relative to it."""

    log: str | list[str]
    """A file, a list of files, a glob or a folder of Parquet, CSV or NDJSON; or ``kafka://host:port/topic``."""

    where: str | None = None
    """SQL condition on rows to keep; dropped rows are counted."""

    user: str
    """Column of the user id; any type, compared as text."""

    item: str
    """Column of the item id; any type, compared as text."""

    time: str
    """Column of the exposure's time: a number since 1970, datetimes or text."""

    time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    """Unit of a numeric time; ``auto`` tells it from the first value and says so."""

    time_format: str | None = None
    """How times are written that are text but not ISO, or days such as 20191115: ``%d/%m/%Y %H:%M``, as strftime has it."""

    first: PositiveInt | None = None
    """Only this many events, the first by time, are taken: for trials on the beginning of a log."""

    skip: NonNegativeInt = 0
    """This many events, the first by time, are left out: for trials of a late start."""

    feedback_delay: NonNegativeFloat | str = 0.0
    """Seconds until an exposure's outcome is known, or the column that holds them."""

    history: str | None = None
    """SQL condition: which exposures enter histories (long-watched ones, say); all are still learned from."""

    items: SideFile | None = None
    """Features of items."""

    users: SideFile | None = None
    """Features of users."""

    @field_validator("feedback_delay")
    @classmethod
    def _no_longer_than_time(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and value > _LONGEST_DELAY:
            raise ValueError(
                f"{value:g} seconds are no delay: give seconds, {_LONGEST_DELAY:g} at most, or a column of them"
            )
        return value


class FeatureConfig(Settings):
    """One feature: ``name = "category"`` or ``name = {kind = "number", linear = true}``."""

    kind: Literal["category", "tags", "number", "vector"]
    """``category`` one id, ``tags`` a list (or text that is one), ``number`` a scalar, ``vector`` a list of floats."""

    linear: bool = False
    """Numbers: a learned direction times sign(x) log(1 + |x|) instead of buckets of that."""

    separator: str = Field("|", min_length=1)
    """Tags: what parts them where they are text; brackets around a list, quotes and spaces around a tag are left out."""


def _feature(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class FeaturesConfig(Settings):
    """Columns that describe items, users and the context of an exposure, beside the ids."""

    item: dict[str, FeatureConfig] = Field(default_factory=dict)
    """Columns of the item file, or, for categories, of the log."""

    user: dict[str, FeatureConfig] = Field(default_factory=dict)
    """Columns of the user file, or of the log."""

    context: dict[str, FeatureConfig] = Field(default_factory=dict)
    """Columns of the log known before the outcome (page, device, hour ...)."""

    @field_validator("item", "user", "context", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {name: _feature(kind) for name, kind in value.items()} if isinstance(value, dict) else value


class TaskConfig(Settings):
    """One thing to predict of an exposure."""

    column: str | None = None
    """Column of the outcome; null means this outcome was not observed for this row."""

    kind: Literal["binary", "regression"] = "binary"
    """``binary`` learns a probability by cross-entropy, ``regression`` a number by Huber loss on its log scale."""

    at_least: float | None = None
    """Positive where the column is at least this."""

    equals: bool | int | float | str | None = None
    """Positive where the column equals this (compared as text)."""

    every_row: bool = False
    """Positive on every row: a log of clicks or purchases; needs drawn negatives."""

    divide_by: str | None = None
    """Column to divide by first (watch time by duration gives the watch ratio)."""

    weight: NonNegativeFloat = 1.0
    """Share of this task in the loss; 0 keeps it as an outcome in histories only."""

    history: bool = True
    """Whether rows of history carry this outcome, where known."""

    edges: list[float] = Field([0.1, 0.5, 1.0, 3.0])
    """Regression: the buckets by which rows of history carry the number."""

    @model_validator(mode="after")
    def _one_meaning(self) -> "TaskConfig":
        rules = [self.at_least is not None, self.equals is not None, self.every_row]
        if sum(rules) > 1:
            raise ValueError("give one of at_least, equals and every_row")
        if self.kind == "regression" and any(rules):
            raise ValueError('kind = "regression" takes the column as it is: drop at_least, equals and every_row')
        if not self.every_row and self.column is None:
            raise ValueError("name its column, or set every_row = true")
        return self

    @property
    def told_apart(self) -> int:
        """Outcomes that rows of history tell apart; 1 where they carry none."""
        if not self.history or self.every_row:
            return 1
        return len(self.edges) + 1 if self.kind == "regression" else 2


def check_outcomes(tasks: Mapping[str, TaskConfig]) -> None:
    """Errors: ``ValueError`` where rows of history would carry more combinations of outcomes than there are codes."""
    carried = [name for name, task in tasks.items() if task.told_apart > 1]
    count = math.prod(task.told_apart for task in tasks.values())
    if count > MOST_CODES:
        raise ValueError(
            f"tasks {', '.join(carried)} have {count} combinations of outcomes, at most {MOST_CODES} "
            f"fit: set tasks.{carried[-1]}.history = false, say, or fewer edges"
        )


class NegativesConfig(Settings):
    """Negatives for logs that hold positives only (sampled among items of earlier events)."""

    per_event: NonNegativeInt = 0
    """Drawn negatives for each event; 0 for a log that holds true negatives."""

    recent: PositiveInt = 100_000
    """They are items of events among the last this many of the log before the event."""
