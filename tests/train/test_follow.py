"""A trained run goes on with what is served: each event is learned and remembered once, as if it had been in the log."""

import itertools
import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marm.data import feedback, inbox
from marm.data.grow import Grower
from marm.data.inbox import InboxWriter
from marm.data.prepare import prepare
from marm.data.source import Log
from marm.data.stream import EventLog
from marm.errors import FolderError
from marm.train import run as commands
from marm.train import setup
from marm.train.cut import KEPT, Cut
from marm.train.follow import PULSE, follow
from tests.train.feeding import aside, columns, copy_of, counts, event_ids, events_of, put, quick
from tests.train.folders import remembered
from tests.train.logs import START, log_frame, run_over, write_world

TRAINED, ALL = 150, 200
pytestmark = pytest.mark.usefixtures("no_report")

KINDS: dict[str, dict[str, Any]] = {
    "learned at once, int8 states": {"memory": {"url": "lmdb://memory", "codec": "int8"}},
    "delay, a filter, negatives, two passes": {
        "data": {"feedback_delay": "delay", "history": "click = 1", "where": "page != 'p3'"},
        "negatives": {"per_event": 1, "recent": 50},
        "train": {"passes": 2},
    },
}


@pytest.fixture(scope="module")
def whole() -> pl.DataFrame:
    return log_frame(events=ALL)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def begun(whole: pl.DataFrame, kind: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first part of the log."""
    folder = tmp_path_factory.mktemp("begun")
    world = write_world(folder / "world", whole[:TRAINED])
    commands.train(run_over(world, **{"memory": {"url": "lmdb://memory"}, **kind}), folder / "run")
    return folder / "run"


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    return copy_of(begun, tmp_path / "run")


def rest(whole: pl.DataFrame) -> list[dict[str, Any]]:
    return list(events_of(whole[TRAINED:]))


def test_served_events_become_the_stream_that_the_whole_log_would_have_been(whole, kind, run, tmp_path):
    put(run, rest(whole))
    result = follow(run, quick(run), until_idle=0)
    world = write_world(tmp_path / "all", whole)
    prepare(run_over(world, **kind), tmp_path / "events")
    expected, grown = EventLog(tmp_path / "events"), EventLog(run / "events")
    assert columns(grown, 0, len(grown)) == columns(expected, 0, len(expected))
    assert grown.originals(0, len(grown)).equals(expected.originals(0, len(expected)))
    assert grown.manifest.dropped == expected.manifest.dropped
    assert result["position"] == len(expected)
    assert result["events"] == len(grown) - grown.manifest.prepared == counts(run)["events"]


def test_served_events_are_scored_learned_and_remembered_once(whole, run):
    before, rows = Cut(run), sum(bounds[1] for bounds in ring_ends(run))
    put(run, rest(whole))
    follow(run, quick(run), until_idle=0)
    after, log = Cut(run), EventLog(run / "events")
    new = log.read(log.manifest.prepared, len(log))
    assert after.number > before.number
    assert after.state["position"] == len(log)
    waiting = set(after.state["waiting"]) - {
        n for n, done in zip(after.state["waiting"], after.state["waiting_remembered"], strict=True) if done
    }
    entered = sum(
        1 for n, enters in zip(range(new.start, len(log)), new.history, strict=True) if enters and n not in waiting
    )
    assert sum(bounds[1] for bounds in ring_ends(run)) - rows == entered
    assert after.state["inbox"] == list(EventLog(run / "events").manifest.growth.settled)


def ring_ends(folder: Path) -> list[tuple[int, int]]:
    """Number of each user and rows ever remembered of it."""
    return [(user, ring[0]) for user, ring in remembered(folder).items()]


def test_nothing_new_is_nothing_learned(run):
    before = Cut(run).number
    result = follow(run, quick(run), until_idle=0)
    assert (result["events"], Cut(run).number) == (0, before)


def test_progress_counts_the_events_of_the_stream_and_no_pass_twice(whole, run):
    told: list[dict[str, Any]] = []
    put(run, rest(whole))
    result = follow(run, quick(run), until_idle=0, progress=told.append)
    steps = [line for line in told if "total" in line]
    assert [line["events"] for line in steps] == sorted({line["events"] for line in steps})
    prepared = EventLog(run / "events").manifest.prepared
    assert all(prepared < line["events"] <= line["total"] <= result["position"] for line in steps)
    assert (steps[-1]["events"], steps[-1]["total"]) == (result["position"], result["position"])


def test_what_a_follower_says_of_itself_is_true_at_its_end(whole, run):
    put(run, rest(whole))
    result = follow(run, quick(run), until_idle=0)
    told = json.loads((run / PULSE).read_text())
    assert {name: told[name] for name in ("cut", "position", "waiting", "counts")} == {
        "cut": Cut(run).number, "position": result["position"], "waiting": 0, "counts": result["counts"],
    }  # fmt: skip


def test_outcomes_that_follow_are_joined_by_id(whole, run):
    records = rest(whole)
    bare = [{**record, "outcomes": {}} for record in records]
    later = [{"kind": "outcomes", "event_id": r["event_id"], "outcomes": {k: r["outcomes"][k]}}
             for k in ("watch", "delay", "click") for r in records]  # fmt: skip
    put(run, [*bare, *later])
    follow(run, quick(run), until_idle=0)
    log = EventLog(run / "events")
    assert log.manifest.growth.counts["events"] > 30
    labels = dict(zip(event_ids(run), log.read(log.manifest.prepared, len(log)).labels[:, 0].tolist(), strict=True))
    clicks = {record["event_id"]: float(record["outcomes"]["click"]) for record in records}
    assert labels.items() <= clicks.items()


def test_an_outcome_of_which_nothing_was_heard_is_what_the_settings_say(whole, run):
    bare = [{**record, "outcomes": {"delay": 1}} for record in rest(whole)]
    put(run, bare)
    follow(run, quick(run, **{"otherwise.click": 0}), until_idle=0)
    log = EventLog(run / "events")
    labels = log.read(log.manifest.prepared, len(log)).labels
    assert set(labels[:, 0].tolist()) == {0.0}
    assert np.isnan(labels[:, 1]).all()


def test_what_is_late_or_twice_or_of_nobody_is_put_aside_and_counted(whole, run):
    records = rest(whole)
    put(run, records)
    follow(run, quick(run), until_idle=0)
    size, learned = len(EventLog(run / "events")), event_ids(run)
    put(
        run,
        [
            next(record for record in records if record["event_id"] == learned[3]),
            {**records[0], "event_id": "late", "at": records[0]["at"] - 1000},
            {"kind": "outcomes", "event_id": "nobody", "outcomes": {"click": 1}},
            {"kind": "outcomes", "event_id": learned[5], "outcomes": {"click": 1}},
        ],
    )
    result = follow(run, quick(run), until_idle=0)
    assert len(EventLog(run / "events")) == size
    assert result["counts"] == counts(run)
    assert {why: counts(run)[why] for why in ("duplicate", "late", "unknown", "after")} == dict.fromkeys(
        ("duplicate", "late", "unknown", "after"), 1
    )
    assert [line["why"] for line in aside(run, "late.ndjson")] == ["duplicate", "late", "unknown", "after"]
    assert json.loads(aside(run, "late.ndjson")[1]["record"])["event_id"] == "late"


BAD = {
    "not json": "not JSON",
    '["a list"]': "a list",
    '{"kind": "what", "event_id": 1}': 'give "event" or "outcomes"',
    '{"kind": "outcomes", "outcomes": {"click": 1}}': "event_id = null",
    '{"kind": "outcomes", "event_id": "x", "outcomes": [1]}': "outcomes = [1]",
    '{"kind": "outcomes", "event_id": "x", "outcomes": {"clik": 1}}': "did you mean click",
}
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "no user": ({"user": None}, "user = null"),
    "a user of two": ({"user": ["a", "b"]}, 'user = ["a"'),
    "an item that is true": ({"item": True}, "item = true"),
    "no time": ({"at": None}, "at = null"),
    "text where times are numbers": ({"at": "yesterday"}, "no time as the log writes times"),
    "infinite": ({"at": float("inf")}, "finite"),
    "the far future": ({"at": 4e9}, "in the future"),
    "an outcome that is none": ({"outcomes": {"click": 3, "delay": 0}}, "neither 0 nor 1"),
    "text for a number": ({"outcomes": {"click": 1, "delay": 0, "watch": "long"}}, "watch = 'long'"),
    "another width": ({"context": {"page": "p1", "query": [1.0]}}, "not 3 wide"),
    "no list": ({"context": {"page": "p1", "query": 7}}, "query = 7"),
}


def test_what_cannot_be_read_is_rejected_with_its_reason_and_the_rest_is_learned(whole, run):
    records = rest(whole)
    last = {**records[-1], "outcomes": {"click": 1, "watch": 1.0, "delay": 0}, "context": {"page": "p1"}}
    bad = [{**last, "event_id": f"bad{n}", **change} for n, (change, _) in enumerate(CHANGES.values())]
    put(run, records[:25])
    writer = InboxWriter(run / "inbox")
    writer.append([line.encode() for line in BAD])
    writer.close()
    put(run, [*records[25:], *bad, {**last, "event_id": "good"}])
    follow(run, quick(run), until_idle=0)
    reasons = [line["reason"] for line in aside(run, "rejected.ndjson")]
    for wanted in [*BAD.values(), *(wanted for _, wanted in CHANGES.values())]:
        assert sum(wanted in reason for reason in reasons) == 1, (wanted, reasons)
    assert len(reasons) == counts(run)["rejected"] == len(BAD) + len(CHANGES)
    assert "good" in event_ids(run)
    assert not any(event_id.startswith("bad") for event_id in event_ids(run))


def test_a_logged_category_that_an_event_does_not_say_is_as_its_item_was_last_seen(whole, run):
    records = [r for r in rest(whole) if r["context"]["page"] != "p3"]
    log = EventLog(run / "events")
    old = log.read(0, len(log))
    last = dict(zip(old.item.tolist(), old.item_columns["shelf"].tolist(), strict=True))
    for record in records:
        del record["context"]["shelf"]
    put(run, records)
    follow(run, quick(run), until_idle=0)
    log.refresh()
    new = log.read(log.manifest.prepared, len(log))
    assert new.item_columns["shelf"].tolist() == [last.get(item, 0) for item in new.item.tolist()]


def test_two_cannot_follow_one_folder(whole, run):
    grower = Grower(run / "events")
    with pytest.raises(FolderError, match="another process"):
        follow(run, quick(run), until_idle=0)
    grower.close()


def test_events_wait_for_their_outcomes_and_for_company(whole, run):
    put(run, rest(whole)[:5])
    # Asked to stop only after it has read what there is, however long that took.
    asked = itertools.count()
    result = follow(run, quick(run, wait=1000, gather=0.3), stop=lambda: next(asked) > 10)
    assert (result["events"], result["waiting"]) == (0, 5)
    began = time.monotonic()
    result = follow(run, quick(run, wait=0.3, gather=0.3), until_idle=0)
    assert result["events"] == counts(run)["events"] > 0
    assert time.monotonic() - began > 0.6


def test_cuts_come_at_their_interval(whole, run):
    records, before = rest(whole), Cut(run).number
    put(run, records[:20])
    follow(run, quick(run, cut_every=0.001), until_idle=0)
    put(run, records[20:])
    follow(run, quick(run, cut_every=1000), until_idle=0)
    assert Cut(run).number >= before + 2


def test_files_of_the_inbox_go_once_every_kept_cut_holds_them_and_they_are_old(whole, run, monkeypatch):
    monkeypatch.setattr(inbox, "ROTATE_AT", 2000)
    records, seen = rest(whole), []
    for part in (records[:20], records[20:30], records[30:40]):
        put(run, part)
        follow(run, quick(run, keep=0), until_idle=0)
        seen.append(inbox.begin_of(run / "inbox").file)
    # A file for each part; the cut before the newest may still be the one to go on from.
    assert seen == [1, 1, 2]
    put(run, records[:40])
    result = follow(run, quick(run, keep=1000), until_idle=0)
    assert result["events"] == 0 and result["counts"]["duplicate"] == len(event_ids(run))
    assert inbox.begin_of(run / "inbox").file == seen[2]
    assert len(event_ids(run)) == len(set(event_ids(run))) == counts(run)["events"] > 20


def test_a_run_that_was_interrupted_in_training_is_finished_first(whole, run):
    (run / "result.json").unlink()
    put(run, rest(whole))
    follow(run, quick(run), until_idle=0)
    assert (run / "result.json").exists()
    assert Cut(run).state["position"] == len(EventLog(run / "events"))


def test_a_store_that_was_lost_is_said_and_nothing_goes_on_without_it(whole, run):
    put(run, rest(whole))
    (run / "memory").rename(run / "gone")
    with pytest.raises(FolderError, match="the store is gone: put it back"):
        follow(run, quick(run), until_idle=0)
    assert not (run / "memory").exists()
    (run / "gone").rename(run / "memory")
    assert follow(run, quick(run), until_idle=0)["events"] > 0


def test_a_store_that_goes_away_while_a_follower_starts_is_not_made_anew(whole, run, monkeypatch):
    put(run, rest(whole))
    made = setup.Ranker

    def while_it_goes(*words):
        (run / "memory").rename(run / "gone")
        return made(*words)

    monkeypatch.setattr(setup, "Ranker", while_it_goes)
    with pytest.raises(FolderError, match="the store is gone: put it back"):
        follow(run, quick(run), until_idle=0)
    assert not (run / "memory").exists()


def test_a_store_of_long_ago_is_said_and_nothing_goes_on_with_it(whole, run):
    shutil.copytree(run / "memory", run / "old")
    begun = Cut(run).number
    for part in (rest(whole)[:20], rest(whole)[20:30], rest(whole)[30:40]):
        put(run, part)
        follow(run, quick(run), until_idle=0)
    assert Cut(run).number > begun + KEPT  # what lies between is in no cut any more
    shutil.rmtree(run / "memory")
    (run / "old").rename(run / "memory")
    with pytest.raises(FolderError, match="what lies between is in no other place: put the store back"):
        follow(run, quick(run), until_idle=0)


def test_new_parquet_files_of_a_folder_are_learned_once(whole, kind, run, tmp_path):
    days = tmp_path / "days"
    days.mkdir()
    whole[TRAINED : TRAINED + 20].write_parquet(days / "day1.parquet")
    follow(run, quick(run), log=str(days), until_idle=0)
    first = len(EventLog(run / "events"))
    whole[TRAINED + 20 :].sample(fraction=1, shuffle=True, seed=1).write_parquet(days / "day2.parquet")
    whole[:10].write_parquet(days / "day3.parquet")
    (days / "day4.parquet").write_bytes(b"PAR1 half")
    whole.drop("click").write_parquet(days / "day5.parquet")
    result = follow(run, quick(run), log=str(days), until_idle=0)
    world = write_world(tmp_path / "all", whole)
    prepare(run_over(world, **kind), tmp_path / "events")
    expected, grown = EventLog(tmp_path / "events"), EventLog(run / "events")
    assert first < len(grown) == len(expected)
    assert columns(grown, 0, len(grown))["time"] == columns(expected, 0, len(expected))["time"]
    assert sorted(columns(grown, 0, len(grown))["item"]) == sorted(columns(expected, 0, len(expected))["item"])
    assert result["counts"]["late"] == aside(run, "late.ndjson")[0]["count"] > 0
    assert "no column click" in aside(run, "rejected.ndjson")[0]["reason"]
    assert follow(run, quick(run), log=str(days), until_idle=0)["events"] == 0


def test_late_and_rejected_rows_are_those_of_their_file(whole, run, tmp_path, monkeypatch):
    frames = Log.frames

    def in_chunks(log, wanted):
        return ((file, chunk) for file, frame in frames(log, wanted) for chunk in frame.iter_slices(8))

    monkeypatch.setattr(Log, "frames", in_chunks)
    days = tmp_path / "days"
    days.mkdir()
    told = whole[TRAINED : TRAINED + 30].with_row_index("at")
    told = told.with_columns(
        time=pl.when(pl.col("at").is_in([5, 20])).then(START - 1).otherwise("time"),
        user=pl.when(pl.col("at") == 19).then(None).otherwise("user"),
        page=pl.lit("p0"),
    )
    for name in ("day1.parquet", "day2.parquet"):
        told.drop("at").write_parquet(days / name)
        follow(run, quick(run), log=str(days), until_idle=0)
        late, rejected = (aside(run, f"{what}.ndjson") for what in ("late", "rejected"))
        mine = [row for line in late if line["file"].endswith(name) for row in line["rows"]]
        assert {6, 21} <= set(mine) <= set(range(1, 31))
        assert rejected[-1]["file"].endswith(name) and rejected[-1]["row"] == 20
        assert rejected[-1]["reason"].startswith("user = null")


def test_the_files_of_the_training_are_not_learned_again(run):
    world = commands.run_of(run).data.path
    assert follow(run, quick(run), log=f"{world}/log.parquet", until_idle=0)["events"] == 0
    assert "late" not in counts(run)


@pytest.mark.parametrize(("room", "hurried"), [(12, False), (5, True)])
def test_a_backlog_with_room_for_few_joins_what_came_in_time_as_far_as_there_is_room(
    whole, run, monkeypatch, room, hurried
):
    monkeypatch.setattr(inbox, "read", partial(inbox.read, limit_bytes=1000))
    monkeypatch.setattr(feedback, "MOST_HELD", room)
    records, began, lines = rest(whole), time.time() - 3600, []
    for number, record in enumerate(records):
        lines.append({**record, "outcomes": {"delay": 1}, "received": began + number})
        if number >= 4:
            lines.append({"kind": "outcomes", "event_id": f"e{number - 4}", "outcomes": {"click": 1}})
    put(run, lines)
    follow(run, quick(run, wait=6, **{"otherwise.click": 0}), until_idle=0)
    found = counts(run)
    log = EventLog(run / "events")
    clicks = dict(zip(event_ids(run), log.read(log.manifest.prepared, len(log)).labels[:, 0].tolist(), strict=True))
    heard = {event_id for event_id, click in clicks.items() if click}
    in_time = {f"e{number}" for number in range(len(records) - 4)} & clicks.keys()
    assert (found.get("hurried", 0) > 0, found.get("after", 0) > 0) == (hurried, hurried)
    assert heard < in_time if hurried else heard == in_time
