"""What of a log and its side files a run reads: columns found, conditions parsed, the time's unit recognised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl
from polars.exceptions import PolarsError

from marm.config import FeatureConfig, RunConfig, SideFile
from marm.data.columns import How, vector_width
from marm.data.labels import columns_of
from marm.data.source import CHUNK_ROWS, Log, LogReader, open_log, schema_of
from marm.data.times import Clock, clock_of
from marm.data.trouble import TroubleError, no_column
from marm.errors import first_line

Report = Callable[[TroubleError], None]
Group = Literal["item", "user", "context"]
_CHUNK_BYTES = 32 * 1024**2
_PART_BYTES = 64 * 1024**2
_BASE_BYTES = 120
_TAG_BYTES = 64


def stop(error: TroubleError) -> None:
    """The report of those who cannot go on: raise the first trouble."""
    raise error


@dataclass(frozen=True)
class Feature:
    """A feature that stands in the log."""

    group: Group
    name: str
    how: How

    @property
    def column(self) -> str:
        """Its column in the stream's parts."""
        return f"{self.group}.{self.name}"


@dataclass(frozen=True)
class SidePlan:
    """A side file and the features to take from it."""

    name: Literal["items", "users"]
    path: Path
    id: str
    features: dict[str, FeatureConfig]
    columns: list[str]
    """All that the file has."""


@dataclass(frozen=True)
class Reading:
    """How rows in the shape of the log become rows of the stream."""

    run: RunConfig
    clock: Clock
    features: list[Feature]
    lost: set[str]
    """Columns of outcomes that the log does not have."""


@dataclass(frozen=True)
class Plan(Reading):
    """Everything about a run's data that is known before its rows are read."""

    log: Log
    reader: LogReader
    times: LogReader
    """Reads the time alone."""
    sides: list[SidePlan]

    def row_bytes(self) -> int:
        """About how many bytes a row of the stream takes."""
        each = {"category": 8, "number": 4, "tags": _TAG_BYTES}
        hows = [feature.how for feature in self.features]
        wide = sum(4 * how.width if how.kind == "vector" else each[how.kind] for how in hows)
        return _BASE_BYTES + 4 * len(self.run.tasks) + wide

    def chunk_rows(self) -> int:
        """Rows to read at a time."""
        return _power_of_two(_CHUNK_BYTES // self.row_bytes())

    def part_rows(self) -> int:
        """Rows of a part of the stream: a power of two."""
        return _power_of_two(_PART_BYTES // self.row_bytes())


def _power_of_two(rows: int) -> int:
    return int(min(CHUNK_ROWS, max(2**10, 2 ** (rows.bit_length() - 1))))


def make_plan(run: RunConfig, report: Report, also: Sequence[str] = ()) -> Plan:
    """Look at a run's files; every trouble is reported, and what cannot be read is then left out.

    ``also``: columns to read that no setting names as a feature or an outcome.

    Errors: ``DataError`` where nothing can be read (no log, no user, item or time column).
    """
    data = run.data
    base = Path(data.path)
    log = replace(open_log(base, data.log), roles=frozenset((data.user, data.item, data.time)))
    lost = [no_column(f"data.{role}", column, log.schema, log.name)
            for role, column in (("user", data.user), ("item", data.item), ("time", data.time))
            if column not in log.schema]  # fmt: skip
    for error in lost:
        report(error)
    where = _condition("data.where", data.where, log, report)
    history = _condition("data.history", data.history, log, report)
    sides = _sides(run, base, report)
    features = _log_features(run, log, sides, where, report)
    outcomes = outcome_columns(run)
    missing = {column for _, column in outcomes if column not in log.schema}
    for setting, column in outcomes:
        if column in missing:
            report(no_column(setting, column, log.schema, log.name))
    needed = [
        *(column for _, column in outcomes if column not in missing),
        *(feature.name for feature in features),
        *also,
    ]
    if lost:
        raise lost[0]
    clock = clock_of(log.first(data.time, where), data.time_unit, data.time_format)
    reader = LogReader(log, [data.user, data.item, data.time, *needed], where, history)
    return Plan(run, clock, features, missing, log, reader, LogReader(log, [data.time], where, None), sides)


def _condition(setting: str, sql: str | None, log: Log, report: Report) -> pl.Expr | None:
    if sql is None:
        return None
    try:
        condition = pl.sql_expr(sql)
        lost = [column for column in condition.meta.root_names() if column not in log.schema]
        if lost:
            report(no_column(setting, lost[0], log.schema, log.name))
            return None
        dtype = pl.DataFrame(schema=log.schema).select(condition.alias("condition")).schema["condition"]
        if dtype == pl.Boolean:
            return condition
        reason = f"gives {dtype}, not true or false"
    except PolarsError as error:
        reason = first_line(error, "unreadable")
    remedy = "write SQL such as rating >= 3; a column that is also a word of SQL goes in double quotes"
    report(TroubleError("condition", setting, f"{setting} = {sql!r}: {reason}", remedy))
    return None


def outcome_columns(run: RunConfig) -> list[tuple[str, str]]:
    """Settings that name a column of outcomes or delays, and the column."""
    named = [(f"tasks.{name}", column) for name, task in run.tasks.items() for column in columns_of(task)]
    if isinstance(run.data.feedback_delay, str):
        named.append(("data.feedback_delay", run.data.feedback_delay))
    return named


def _sides(run: RunConfig, base: Path, report: Report) -> list[SidePlan]:
    plans = []
    if run.data.items is not None:
        plans.append(_side("items", run.data.items, base, run.features.item, report))
    if run.data.users is not None:
        plans.append(_side("users", run.data.users, base, run.features.user, report))
    return [plan for plan in plans if plan is not None]


def _side(
    name: Literal["items", "users"], file: SideFile, base: Path, wanted: dict[str, FeatureConfig], report: Report
) -> SidePlan | None:
    path = base / file.file
    if not path.is_file():
        report(TroubleError("missing file", name, f"data.{name}.file: no file {path}", "name a Parquet, CSV or NDJSON"))
        return None
    schema = schema_of(path)
    if file.id not in schema:
        report(no_column(f"data.{name}.id", file.id, schema, path.name))
        return None
    return SidePlan(name, path, file.id, {key: value for key, value in wanted.items() if key in schema}, list(schema))


def _log_features(run: RunConfig, log: Log, sides: list[SidePlan], where: pl.Expr | None, report: Report
                  ) -> list[Feature]:  # fmt: skip
    """Features that the side files do not have, from the log."""
    beside = {side.name: side for side in sides}
    groups: list[tuple[Group, dict[str, FeatureConfig], SidePlan | None]] = [
        ("item", run.features.item, beside.get("items")),
        ("user", run.features.user, beside.get("users")),
        ("context", run.features.context, None),
    ]
    features = []
    for group, wanted, side in groups:
        for name, feature in wanted.items():
            try:
                if side is None or name not in side.features:
                    features.append(_log_feature(group, name, feature, log, where, side))
            except TroubleError as error:
                report(error)
    return features


def _log_feature(
    group: Group, name: str, feature: FeatureConfig, log: Log, where: pl.Expr | None, side: SidePlan | None
) -> Feature:
    setting = f"features.{group}.{name}"
    if name not in log.schema:
        if side is None:
            raise no_column(setting, name, log.schema, log.name)
        raise no_column(setting, name, [*side.columns, *log.schema], f"neither {side.path.name} nor {log.name}")
    if group == "item" and feature.kind != "category":
        found = f'{setting}: {feature.kind} in the log, where items have "category" only'
        raise TroubleError("item feature", name, found, "move the column to an item file (data.items)")
    width = vector_width(log.first(name, where)) if feature.kind == "vector" else 1
    return Feature(group, name, How(feature.kind, width, feature.separator))
