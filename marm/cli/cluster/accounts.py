"""What must come out even in the end: log, feedback, requests, and memory against the stream, row by row."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from marm.cli.cluster.load import Load
from marm.data.stream import EventLog
from marm.store.rings import places_from
from marm.train.cut import Cut
from marm.train.inspect import check
from marm.train.opened import Opened, ranges, to_read
from marm.types import I64


class Account(NamedTuple):
    """One line of the end."""

    even: bool
    says: str


def accounts(folder: Path, load: Load) -> list[Account]:
    """All of them, of a run that was trained, followed and served, and is at rest."""
    return [_log(folder), _requests(load), _feedback(folder, load), _memory(folder), _shown(load)]


def _log(folder: Path) -> Account:
    events = EventLog(folder / "events").manifest.prepared
    rows = pl.read_parquet(folder / "predictions.parquet", columns=["row"])["row"].sort()
    even = rows.equals(pl.Series("row", np.arange(events), rows.dtype))
    return Account(even, f"{events:,} events of the log: {len(rows):,} scored and learned from, {_once(rows)}")


def _once(found: pl.Series) -> str:
    twice = len(found) - found.n_unique()
    return f"{twice:,} twice" if twice else "each once"


def _requests(load: Load) -> Account:
    asked, answered = load.total("asked"), load.total("answered")
    even = asked == answered and not load.faults()
    return Account(
        even,
        f"{asked:,} requests: {answered:,} answered, {len(load.faults()):,} wrongly; {load.total('again'):,} asked again, "
        f"{load.total('degraded'):,} said to be degraded",
    )


def _feedback(folder: Path, load: Load) -> Account:
    told, log = sorted(load.told()), EventLog(folder / "events")
    ids, position = sorted(log.event_ids(len(log))), Cut(folder).state["position"]
    even = ids == told and position == len(log) == log.manifest.prepared + len(told)
    missing = len(set(told) - set(ids))
    return Account(
        even,
        f"{len(told):,} events told and acknowledged: {len(ids):,} in the stream, {_once(pl.Series(ids))}, {missing:,} "
        f"missing; {len(log) - position:,} not learned from",
    )


def _memory(folder: Path) -> Account:
    with to_read(folder) as opened:
        damaged = len(check(opened.store, opened.shape.facts_kept, lambda _: None))
        users, rows, wrong = against_stream(opened)
    return Account(
        not damaged and not wrong,
        f"{users:,} users in Redis: {rows:,} rows compared with the stream, {wrong:,} of another user or position, "
        f"{damaged:,} users damaged",
    )


def against_stream(opened: Opened) -> tuple[int, int, int]:
    """Users of a store, rows compared, and how many are not what their user did at that position, or are not there."""
    store, kept, events = opened.store, opened.shape.facts_kept, opened.log.read(0, len(opened.log))
    order = np.argsort(events.user, kind="stable")
    users, begins, counts = np.unique(events.user[order], return_index=True, return_counts=True)
    holding, rows, wrong = store.holding(), 0, 0
    wrong += len(np.setxor1d(users, holding.users))
    for part in ranges(holding.next, kept):
        found = store.read_facts(holding.users[part], kept)
        of = np.searchsorted(users, holding.users[part]).clip(0, len(users) - 1)
        wrong += int((found.counts != np.minimum(counts[of], kept)).sum() + (found.next != counts[of]).sum())
        number = _numbers(order, begins[of], counts[of], found.counts, places_from(found.first, found.counts))
        facts = found.facts.view(opened.shape.facts).reshape(-1)
        same = (facts["item"] == events.item[number]) & (facts["time"] == events.time[number])
        same &= np.repeat(holding.users[part], found.counts) == events.user[number]
        rows, wrong = rows + len(facts), wrong + int((~same).sum())
    return len(holding.users), rows, wrong


def _numbers(order: I64, begins: I64, counts: I64, found: I64, position: I64) -> I64:
    """Of each row, the number in the stream of the event that its user had at its position, or had last."""
    last: I64 = np.repeat(counts, found) - 1
    numbers: I64 = order[np.repeat(begins, found) + np.minimum(position, last)]
    return numbers


def _shown(load: Load) -> Account:
    wrong = sum("was shown rows of another" in fault for fault in load.faults())
    histories, rows = load.total("histories"), load.total("rows")
    return Account(
        histories > 0 and not wrong,
        f"{histories:,} histories looked at through the servers: {rows:,} rows, {wrong:,} histories with a row of another "
        "user or position",
    )
