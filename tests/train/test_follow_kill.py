"""A follower that ends at any moment and is started again learns what the unbroken one learns, bit for bit, nothing twice."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from marm.data import feedback, grow, inbox
from marm.data.inbox import InboxWriter
from marm.data.journal import FILE
from marm.data.parts import Manifest
from marm.data.stream import EventLog
from marm.train import run as commands
from marm.train.follow import follow
from tests.train.feeding import (
    aside,
    assert_same_learning,
    copy_of,
    counts,
    event_ids,
    events_of,
    lines,
    put,
    quick,
)
from tests.train.logs import log_frame, run_over, write_world
from tests.train.test_kill import Killed, Reaper, wait_for_change

TRAINED, ALL = 100, 180
ROUNDS, SOAK_ROUNDS = 4, 60
PROCESS_KILLS, SOAK_PROCESS_KILLS = 2, 30
RUN: dict[str, Any] = {
    "memory": {"url": "lmdb://memory"},
    "data": {"feedback_delay": "delay", "history": "click = 1"},
    "train": {"cut_every": 30, "micro_batch": 8, "window_events": 25},
}
pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first part of a log, with the rest of it in its inbox: bare events, outcomes, and what is wrong."""
    folder, whole = tmp_path_factory.mktemp("begun"), log_frame(events=ALL)
    world = write_world(folder / "world", whole[:TRAINED])
    commands.train(run_over(world, **RUN), folder / "run")
    records: list[dict[str, Any]] = []
    for number, record in enumerate(events_of(whole[TRAINED:])):
        outcomes = {**record["outcomes"]}
        click = outcomes.pop("click")
        records.append({**record, "outcomes": outcomes})
        records.append({"kind": "outcomes", "event_id": record["event_id"], "outcomes": {"click": click}})
        if number % 9 == 4:
            records += [
                record,
                {**record, "event_id": f"late{number}", "at": 5},
                {"kind": "outcomes", "event_id": "none"},
            ]
        if number % 20 == 10:
            records.append({**record, "event_id": f"bad{number}", "outcomes": {"click": 3}})
    put(folder / "run", records)
    return folder / "run"


class FollowReaper(Reaper):
    PLACES = (
        *Reaper.PLACES,
        (os, "truncate"),
        (grow, "write_durable"),
        (Manifest, "write"),
        (feedback.Aside, "flush"),
        (feedback.Feedback, "poll"),
    )


def test_a_follower_ended_at_any_call_ends_like_the_unbroken_one(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: Callable[[int, int], int]
) -> None:
    # A few records at a time, so that there are many batches, and the same ones whoever is killed.
    monkeypatch.setattr(inbox, "read", partial(inbox.read, limit_bytes=1000))
    monkeypatch.setattr(feedback, "MOST_HELD", 5)
    reaper = FollowReaper(monkeypatch)
    whole = copy_of(begun, tmp_path / "whole")
    follow(whole, quick(whole), until_idle=0)
    assert len(EventLog(whole / "events").manifest.growth.parts) > 8
    calls, chance, rounds = reaper.calls, random.Random(3), soak(ROUNDS, SOAK_ROUNDS)
    for number in range(rounds):
        out = copy_of(begun, tmp_path / f"broken{number}")
        ends = [(int((number + chance.random()) * calls / rounds), chance.random() < 0.5) for _ in range(2)]
        for end in ends:
            reaper.arm(*end)
            # The second end may come after the run's.
            with pytest.raises(Killed) if end is ends[0] else suppress(Killed):
                follow(out, quick(out), until_idle=0)
        reaper.arm(-1, True)
        follow(out, quick(out), until_idle=0)
        try:
            assert_same_learning(whole, out)
            assert counts(out) == counts(whole)
            for name in ("late.ndjson", "rejected.ndjson"):
                assert aside(out, name) == aside(whole, name)
        except AssertionError as error:
            raise AssertionError(f"ended at calls {ends} of {calls}") from error
        shutil.rmtree(out)


def start(folder: Path) -> subprocess.Popen[bytes]:
    words = ["follow", str(folder), "--quiet", "--until-idle", "1.5", "--cut-every", "0.2"]
    sets = ["--set", "follow.wait=0.15", "--set", "follow.gather=0.1"]
    return subprocess.Popen(
        [sys.executable, "-m", "marm", *words, *sets], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def tell(folder: Path, number: int) -> None:
    """Change an item, as a server does that is told."""
    with (folder / FILE).open("ab") as file:
        file.write(lines([{"item": number % 20, "features": {"price": number, "brand": f"b{number % 7}"}}])[0] + b"\n")


def test_a_process_killed_under_load_loses_nothing_and_learns_nothing_twice(
    begun: Path, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    out = copy_of(begun, tmp_path / "run")
    shutil.rmtree(out / "inbox")
    records = list(events_of(log_frame(events=1200, seed=5)[TRAINED:]))
    last = EventLog(out / "events").manifest.last_time // 1_000_000
    for number, record in enumerate(records):
        record["at"] = last + number // 3
    kills, chance, writer = soak(PROCESS_KILLS, SOAK_PROCESS_KILLS), random.Random(1), InboxWriter(out / "inbox")
    for number in range(kills):
        begin, end = (len(records) * n // (kills + 1) for n in (number, number + 1))
        child = start(out)
        for at in range(begin, end, 10):
            writer.append(lines(records[at : min(at + 10, end)]))
            tell(out, at)
            time.sleep(0.01)
        # At work, whether it appends, learns or cuts.
        wait_for_change(out / "predictions.spool", child)
        time.sleep(chance.random())
        child.send_signal(signal.SIGKILL)
        child.communicate()
    writer.append(lines(records[len(records) * kills // (kills + 1) :]))
    writer.close()
    child = start(out)
    _, said = child.communicate()
    assert child.returncode == 0, said.decode()
    assert sorted(event_ids(out)) == sorted(record["event_id"] for record in records)
    assert counts(out) == {"events": len(records)}
    # The same stream learned without a break; it has the same parts, for steps end with them.
    twin = copy_of(begun, tmp_path / "twin")
    shutil.rmtree(twin / "events")
    shutil.rmtree(twin / "inbox")
    shutil.copytree(out / "events", twin / "events")
    shutil.copy(out / FILE, twin / FILE)
    assert len({part.items for part in EventLog(twin / "events").manifest.growth.parts}) > 1
    follow(twin, quick(twin), until_idle=0)
    assert_same_learning(out, twin)


def test_a_follower_that_is_asked_to_stop_makes_a_cut_and_leaves(begun: Path, tmp_path: Path) -> None:
    out = copy_of(begun, tmp_path / "run")
    before = commands.Cut(out).number
    words = ["follow", str(out), "--quiet", "--set", "follow.wait=0", "--set", "follow.gather=0"]
    child = subprocess.Popen([sys.executable, "-m", "marm", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(600):
        if len(event_ids(out)) == ALL - TRAINED:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    said, errors = child.communicate(timeout=60)
    assert (child.returncode, errors.decode()) == (0, "")
    told, cut = json.loads(said), commands.Cut(out)
    assert cut.number > before
    assert cut.state["position"] == TRAINED + told["events"] > TRAINED
    follow(out, quick(out), until_idle=0)
    assert commands.Cut(out).state["position"] == len(EventLog(out / "events")) == ALL
