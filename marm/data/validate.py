"""All that is wrong, or doubtful, in a run's data, at once; and what the data comes to."""

import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marm.config import RunConfig
from marm.data.columns import convert
from marm.data.labels import columns_of
from marm.data.lookup import Lookup
from marm.data.order import UnsortedError, blocks_by_bucket, blocks_in_order
from marm.data.plan import Plan, SidePlan, make_plan
from marm.data.rows import LABELS, core, edges, labels
from marm.data.side import ID, convert_side, read_side
from marm.data.summary import Account, Counter, Summary
from marm.data.times import doubtful, iso, seconds_to_micros
from marm.data.trouble import Trouble, TroubleError, Troubles
from marm.errors import DataError

_LONG_SPAN = 100 * 365 * 86_400 * 1_000_000


@dataclass(frozen=True)
class Report:
    """What ``validate`` found."""

    troubles: list[Trouble]
    """Errors before warnings."""
    summary: Summary | None
    """Nothing where the log could not be read at all."""

    @property
    def ok(self) -> bool:
        """Whether ``prepare`` would take the data."""
        return all(trouble.severity != "error" for trouble in self.troubles)


def validate(run: RunConfig) -> Report:
    """Read a run's data through and collect every trouble, not just the first."""
    found = Troubles()
    try:
        plan = make_plan(run, found.add)
        account, warnings = _read(plan, found)
    except DataError as error:
        met = isinstance(error, TroubleError) and found.has(error.column)
        return Report([*found.list(), *([] if met else [_unread(error)])], None)
    for trouble in account.tally.troubles(run, plan.log.name):
        if not _explained(trouble, run, found):
            found.add(trouble)
    warnings += _doubts(plan, account)
    for side in plan.sides:
        warnings += _side_warnings(side, account, found)
    summary = account.summary(plan.reader.dropped, plan.clock.says())
    return Report([*found.list(), *warnings], summary)


def _unread(error: DataError) -> Trouble:
    return Trouble(error.kind if isinstance(error, TroubleError) else "unreadable", "error", str(error))


def _explained(trouble: TroubleError, run: RunConfig, found: Troubles) -> bool:
    """A task whose column is in trouble has no labels; an empty log may be one whose rows are all bad."""
    if trouble.kind == "empty log":
        return bool(found.list())
    return any(found.has(column) for column in columns_of(run.tasks[trouble.column]))


def _read(plan: Plan, found: Troubles) -> tuple[Account, list[Trouble]]:
    """Read the log through in the stream's order."""
    tasks = list(plan.run.tasks)
    account, met = Account(tasks), Troubles()
    warnings = []
    try:
        for block in blocks_in_order(_frames(plan, met)):
            account.add(block)
    except UnsortedError as fall:
        warnings.append(_unsorted(plan, fall))
        account, met = Account(tasks), Troubles()
        with tempfile.TemporaryDirectory(prefix="marm-") as folder:
            for block in blocks_by_bucket(_frames(plan, met), edges(plan), Path(folder) / "buckets"):
                account.add(block)
    found.extend(met)
    return account, warnings


def _frames(plan: Plan, met: Troubles) -> Iterator[pl.DataFrame]:
    """What is counted of each chunk; its other columns are only tried."""
    delay = plan.run.data.feedback_delay
    for raw in plan.reader.chunks(plan.chunk_rows()):
        chunk, frame = core(raw, plan, met.add)
        if not len(chunk.row):
            continue
        yield frame.with_columns(pl.Series(LABELS, labels(chunk, plan, met.add)))
        for feature in plan.features:
            try:
                convert(chunk, feature.name, feature.how)
            except TroubleError as error:
                met.add(error)
        try:
            if delay not in plan.lost:
                seconds_to_micros(chunk, delay)
        except TroubleError as error:
            met.add(error)


def _unsorted(plan: Plan, fall: UnsortedError) -> Trouble:
    place, time = plan.reader.places.at(fall.row), plan.run.data.time
    form = plan.run.data.time_format
    named = f"--time {time}" + (f" --time-format {shlex.quote(form)}" if form else "")
    falls = f"{time} falls from {iso(fall.before)} to {iso(fall.after)}"
    message = (
        f"{place}: {falls}: the log will be sorted each time it is prepared; "
        f"`marm sort LOG OUT.parquet {named}` does it once for all"
    )
    return Trouble("unsorted", "warning", message)


def _doubts(plan: Plan, account: Account) -> list[Trouble]:
    doubts = []
    tally, data = account.tally, plan.run.data
    unit = doubtful(plan.clock, tally.first_time) if tally.rows else None
    if unit is None and tally.last_time - tally.first_time > _LONG_SPAN:
        span = f"spans {iso(tally.first_time)} to {iso(tally.last_time)}"
        remedy = "set data.time_unit, or data.where if some times are wrong"
        unit = f"column {data.time} read as {plan.clock.says()} {span}: {remedy}"
    if unit:
        doubts.append(Trouble("time unit", "warning", unit))
    if account.first_duplicate is not None:
        place = plan.reader.places.at(account.first_duplicate)
        same = f"the same {data.user}, {data.item} and {data.time} as a row before"
        message = (
            f"{place}: {same} ({account.duplicates:,} such rows): "
            "each counts as an event; drop them from the log if they are one"
        )
        doubts.append(Trouble("duplicates", "warning", message))
    return doubts


def _side_warnings(side: SidePlan, account: Account, found: Troubles) -> list[Trouble]:
    """Errors of a side file, and how many ids of the log it lacks."""
    try:
        ids = convert_side(side, *read_side(side))[ID].to_numpy()
    except TroubleError as error:
        found.add(error)
        return []
    seen: Counter = account.items if side.name == "items" else account.users
    lost = Lookup(ids).find(seen.ids()) < 0
    if not lost.any():
        return []
    events = seen.counts()[lost].sum() / max(int(seen.counts().sum()), 1)
    lacks = f"lacks {lost.mean():.1%} of the log's {side.name} ({int(lost.sum()):,}), {events:.1%} of its events"
    message = (
        f"{side.path.name} {lacks}: "
        f"they go without its features; check data.{side.name}.id = {side.id!r} if that is too many"
    )
    return [Trouble(f"{side.name} missing", "warning", message)]
