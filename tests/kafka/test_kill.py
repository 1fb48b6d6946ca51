"""A follower of a topic that dies goes on from the offsets in its folder: nothing is lost, nothing is learned twice."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from marm.data import feedback, topic
from marm.data.stream import EventLog
from marm.train.cut import Cut
from marm.train.follow import follow
from tests.kafka.topics import MORE, Cluster, after_training, as_messages, at_once, by_user
from tests.train.feeding import aside, assert_same_learning, copy_of, counts, event_ids
from tests.train.test_follow_kill import FollowReaper
from tests.train.test_kill import Killed, wait_for_change

ROUNDS, SOAK_ROUNDS = 1, 30
PROCESS_KILLS, SOAK_PROCESS_KILLS = 1, 20


def messages(events: int = MORE) -> tuple[list[Any], list[str], list[int]]:
    """Events without clicks, the clicks, and what is late, twice, of nobody or not readable; keys, and when each is sent."""
    out: list[Any] = []
    sent: list[int] = []
    for number, row in enumerate(as_messages(after_training(0, events))):
        click = row.pop("click")
        out += [row, {"kind": "outcomes", "event_id": row["event_id"], "click": click, "user": row["user"]}]
        if number % 9 == 4:
            out += [
                row,
                {**row, "event_id": f"late{number}", "time": 5},
                b"{",
                {**row, "event_id": f"n{number}", "item": None},
            ]
            out += [{"kind": "outcomes", "event_id": f"none{number}", "click": 1, "user": row["user"]}]
        # At one moment, so that a click is in time though nothing waits for it.
        sent += [1_700_000_000_000 + 1000 * number] * (len(out) - len(sent))
    return out, [one["user"] if isinstance(one, dict) else "nobody" for one in out], sent


def test_a_follower_ended_at_any_call_ends_like_the_unbroken_one(
    cluster: Cluster, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: Callable[[int, int], int]
) -> None:
    name = cluster.name()
    cluster.put(name, *messages())
    # Some messages at a time, so that there are many batches, and the same ones whoever is killed.
    monkeypatch.setattr(topic, "AT_ONCE", 20)
    monkeypatch.setattr(feedback, "MOST_HELD", 5)
    reaper = FollowReaper(monkeypatch)
    whole = copy_of(trained, tmp_path / "whole")
    follow(whole, at_once(whole), cluster.url(name), until_idle=0)
    assert len(EventLog(whole / "events").manifest.growth.parts) > 5
    assert counts(whole)["events"] == 80 and min(
        counts(whole)[what] for what in ("late", "duplicate", "rejected", "unknown")
    )
    calls, chance, rounds = reaper.calls, random.Random(3), soak(ROUNDS, SOAK_ROUNDS)
    for number in range(rounds):
        out = copy_of(trained, tmp_path / f"broken{number}")
        reaper.arm(int((number + chance.random()) * calls / rounds), chance.random() < 0.5)
        with suppress(Killed):
            follow(out, at_once(out), cluster.url(name), until_idle=0)
        reaper.arm(-1, True)
        follow(out, at_once(out), cluster.url(name), until_idle=0)
        assert_same_learning(whole, out)
        assert counts(out) == counts(whole)
        for side in ("late.ndjson", "rejected.ndjson"):
            assert aside(out, side) == aside(whole, side)


def start(folder: Path, url: str, until_idle: float = 2) -> "subprocess.Popen[bytes]":
    words = ["follow", str(folder), "--log", url, "--quiet", "--until-idle", str(until_idle), "--cut-every", "0.2"]
    sets = ["--set", "follow.wait=0.15", "--set", "follow.gather=0.1", "--set", "kafka.lateness=0.3"]
    return subprocess.Popen(
        [sys.executable, "-m", "marm", *words, *sets], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_process_killed_while_messages_come_loses_nothing_and_learns_nothing_twice(
    cluster: Cluster, trained: Path, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    out, name = copy_of(trained, tmp_path / "run"), cluster.name()
    cluster.partitions(name)
    rows = as_messages(after_training(0, 300))
    sent = with_wrong_ones(rows)
    kills, chance = soak(PROCESS_KILLS, SOAK_PROCESS_KILLS), random.Random(1)
    for number in range(kills):
        child = start(out, cluster.url(name))
        begin, end = (len(sent) * n // (kills + 1) for n in (number, number + 1))
        for at in range(begin, end, 5):
            by_user(cluster, name, sent[at : min(at + 5, end)])
            time.sleep(0.01)
        wait_for_change(out / "predictions.spool", child)
        time.sleep(chance.random())
        child.send_signal(signal.SIGKILL)
        child.communicate()
    by_user(cluster, name, sent[len(sent) * kills // (kills + 1) :])
    child = start(out, cluster.url(name))
    said, errors = child.communicate()
    assert child.returncode == 0, errors.decode()
    assert b'"lag": 0' in said
    assert sorted(event_ids(out)) == sorted(row["event_id"] for row in rows)
    wrong = (len(sent) - len(rows)) // 2
    assert wrong > 20 and counts(out) == {"events": len(rows), "duplicate": wrong, "late": wrong}
    assert Counter(one["why"] for one in aside(out, "late.ndjson")) == {"duplicate": wrong, "late": wrong}
    assert sum(Cut(out).state["inbox"].values()) == len(sent)


def with_wrong_ones(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows, and after every ninth the same once more, and one of its user that comes too late."""
    sent = []
    for number, row in enumerate(rows):
        sent += [row, row, {**row, "event_id": f"late{number}", "time": 5}] if number % 9 == 4 else [row]
    return sent
