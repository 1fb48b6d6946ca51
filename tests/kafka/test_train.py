"""A run is trained on a topic as it would be on the same rows in a file, and goes on where that ended."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.config import RunConfig
from marm.config.load import check_run
from marm.data.plan import make_plan, stop
from marm.data.prepare import prepare
from marm.data.snapshot import PIN
from marm.data.stream import EventLog
from marm.errors import DataError
from marm.train import run as commands
from marm.train.cut import Cut
from marm.train.follow import follow
from tests.kafka.topics import Cluster, as_messages, at_once, by_user
from tests.train.feeding import aside, assert_same_learning, columns, counts, run_of
from tests.train.logs import START, log_frame, run_over, write_world
from tests.train.test_kill import Killed, Reaper

EVENTS = 120
TRAIN: dict[str, Any] = {"cut_every": 30, "micro_batch": 8, "window_events": 25}


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return log_frame(events=EVENTS).with_columns(time=START + pl.int_range(pl.len()))


@pytest.fixture
def run(tmp_path: Path, frame: pl.DataFrame) -> RunConfig:
    """Over a file; its side files serve a topic too."""
    world = write_world(tmp_path / "world", frame)
    sections = {"memory": {"url": "lmdb://memory"}, "train": TRAIN, "follow": {"wait": 0, "gather": 0}}
    return run_over(world, data={"feedback_delay": "delay"}, kafka={"lateness": 0}, **sections)


def over(run: RunConfig, url: str, **sections: dict[str, Any]) -> RunConfig:
    """The same run over a topic."""
    raw = run.model_dump(exclude_none=True)
    raw["data"]["log"] = url
    for name, values in sections.items():
        raw[name] = {**raw[name], **values}
    return check_run(raw, "run.toml")


def same_stream(one: Path, other: Path) -> bool:
    mine, theirs = EventLog(one), EventLog(other)
    return columns(mine, 0, len(mine)) == columns(theirs, 0, len(theirs))


def test_a_topic_is_the_log_that_a_file_of_its_rows_would_be(cluster, run, frame, tmp_path):
    name, outcomes = cluster.name(), cluster.name()
    rows = as_messages(frame)
    bare = [{key: value for key, value in row.items() if key != "click"} for row in rows]
    told = [{"event_id": row["event_id"], "click": row["click"]} for row in rows]
    cluster.put(outcomes, told[:50], timestamp=1000)
    cluster.put(name, bare, [row["user"] for row in rows], timestamp=2000)
    cluster.put(name, [{"kind": "outcomes", **one} for one in told[50:]], timestamp=2000)
    poison = [
        b"\xff\xfe",
        b"[]",
        {**rows[0], "event_id": "p0", "time": "never"},
        {**rows[0], "event_id": "p1", "item": None},
    ]
    poison += [{**rows[0], "event_id": "p2", "hour": "noon"}, {**rows[0], "event_id": "p3", "query": {"a": 1}}]
    cluster.put(name, [*poison, rows[7]], partition=1, timestamp=2000)
    cluster.put(outcomes, [{"event_id": "e0", "click": 1 - rows[0]["click"]}], timestamp=9000)
    (tmp_path / "run").mkdir()
    topic = over(run, cluster.url(name), kafka={"outcomes": outcomes}, follow={"wait": 5})
    manifest = prepare(topic, tmp_path / "run" / "events")
    prepare(run, tmp_path / "file")
    assert same_stream(tmp_path / "run" / "events", tmp_path / "file")
    assert manifest.growth.counts == {"rejected": 6, "duplicate": 1}
    rejected = aside(tmp_path / "run", "rejected.ndjson")
    first = min(one["place"][1] for one in rejected)
    reasons = {one["place"][1] - first: one["reason"] for one in rejected}
    assert sorted(reasons) == [0, 1, 2, 3, 4, 5]
    assert "neither JSON" in reasons[0] and "never" in reasons[2] and "item = null" in reasons[3]
    assert "noon" in reasons[4] and "others have list" in reasons[5]
    assert sum(manifest.growth.settled.values()) == 2 * EVENTS + 8


def test_other_commands_say_that_they_read_files(run):
    with pytest.raises(DataError, match="a topic: only marm train and marm follow read one"):
        make_plan(over(run, "kafka://h:9/t"), stop)


def test_arrow_messages_are_read_too(cluster, run, frame, tmp_path):
    name, streams = cluster.name(), []
    for begin in range(0, EVENTS, 50):
        stream = BytesIO()
        frame[begin : begin + 50].write_ipc_stream(stream)
        streams.append(stream.getvalue())
    cluster.put(name, streams, partition=0)
    (tmp_path / "run").mkdir()
    prepare(over(run, cluster.url(name)), tmp_path / "run" / "events")
    prepare(run, tmp_path / "file")
    assert same_stream(tmp_path / "run" / "events", tmp_path / "file")
    assert EventLog(tmp_path / "run" / "events").event_ids(3) == [f"{name}/0:2:{n}" for n in (17, 18, 19)]


def test_events_younger_than_their_window_are_left_to_follow(cluster, run, frame, tmp_path):
    name, rows = cluster.name(), as_messages(frame)
    cluster.put(name, rows[:40], partition=0, timestamp=1_000_000)
    cluster.put(name, rows[40:60], partition=0)
    (tmp_path / "run").mkdir()
    manifest = prepare(over(run, cluster.url(name), follow={"wait": 600}), tmp_path / "run" / "events")
    assert (manifest.rows, manifest.growth.settled[f"{name}/0"]) == (40, 40)
    young = cluster.name()
    cluster.put(young, rows[:3])
    (tmp_path / "young").mkdir()
    with pytest.raises(
        DataError, match=r"no event is 600 s old \(follow.wait, kafka.lateness\): wait, or set them lower"
    ):
        prepare(over(run, cluster.url(young), follow={"wait": 600}), tmp_path / "young" / "events")


def test_a_log_of_nothing_but_bad_rows_is_refused(cluster, run, frame, tmp_path):
    name = cluster.name()
    cluster.put(name, [{**row, "item": None} for row in as_messages(frame)[:5]])
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match=r"5 of 5 events cannot be read: .*item = null"):
        prepare(over(run, cluster.url(name)), tmp_path / "run" / "events")


ROUNDS, SOAK_ROUNDS = 2, 20


def pinned(out: Path) -> list[int]:
    """Where a training's topic ends, partition by partition."""
    return [end for _, end in sorted(json.loads((out / PIN).read_text())["end"].items())]


def test_a_training_ended_at_any_call_reads_and_learns_what_the_unbroken_one_does(
    cluster: Cluster, run: RunConfig, frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    soak: Callable[[int, int], int],
) -> None:  # fmt: skip
    rows, reaper = as_messages(frame), Reaper(monkeypatch)

    def topic() -> RunConfig:
        name = cluster.name()
        by_user(cluster, name, rows[:100])
        return over(run, cluster.url(name))

    def more(out: Path) -> None:
        by_user(cluster, run_of(out).data.log.rpartition("/")[2], rows[100:101])

    whole = tmp_path / "whole"
    commands.train(topic(), whole, page=False)
    calls, chance, rounds = reaper.calls, random.Random(5), soak(ROUNDS, SOAK_ROUNDS)
    # First when the end of the topic is written down and what was read up to it is not in place yet.
    moments = [(0, "rename"), *((chance.randrange(3, calls), "") for _ in range(rounds - 1))]
    for number, (at, among) in enumerate(moments):
        out = tmp_path / f"broken{number}"
        reaper.arm(at, True, among)
        with suppress(Killed):
            commands.train(topic(), out, page=False)
        reaper.arm(-1, True)
        # What comes once the end is written down is not of this training.
        begun = (out / PIN).exists()
        if begun:
            more(out)
        commands.resume(out, page=False)
        if not begun:
            more(out)
        assert pinned(out) == pinned(whole)
        assert_same_learning(whole, out)
    # Both go on with what came, from where the training ended.
    more(whole)
    for one in (whole, out):
        assert follow(one, at_once(one), until_idle=0)["events"] == 1
        assert counts(one) == {"events": 1}
        assert sum(Cut(one).state["inbox"].values()) == 101
    assert_same_learning(whole, out)
