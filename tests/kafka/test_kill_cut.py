"""A follower of a topic whose memory lies in Redis, killed around a cut: neither is ahead of the other once it goes on."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from marm.data.stream import EventLog
from marm.store.redis_rows import CUT
from marm.train.cut import KEPT, Cut, cut_numbers
from marm.train.follow import follow
from marm.train.opened import in_redis, to_read
from tests.kafka.dying import MOMENTS, in_small_batches
from tests.kafka.test_kill import messages
from tests.kafka.topics import Cluster, at_once, begun_in, sets_of
from tests.store import servers
from tests.train.feeding import aside, assert_same_learning, counts, event_ids

EVENTS, SOAK_EVENTS, CUT_EVERY = 90, 280, 10
SERVERS = ("cluster", "single")
SHORT = ("it is visible", "some markers are set", "all markers are set")
SOAK = 10
"""Moments for each of the servers."""


def killed(out: Path, url: str, moment: str, cut: int) -> None:
    """Follow in a process of its own, until it is killed."""
    words = [moment, cut, "follow", out, "--log", url, "--quiet", "--until-idle", 0, "--cut-every", 10**6]
    sets = chain.from_iterable(("--set", one) for one in sets_of({}))
    command = [sys.executable, "-m", "tests.kafka.dying", *map(str, words), *sets]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, f"{moment}: {done.returncode} {done.stderr}"


def check_moment(out: Path, moment: str) -> None:
    """The folder and Redis are as they are at that moment, and at no other."""
    with to_read(out) as opened:
        store, number, users = in_redis(opened.store), opened.cut.number, opened.cut.rows().users
        has = (store._held(users)[0][:, CUT] == number).tolist()
        marked = [int(one) == number for one in store._ask([("GET", key) for key in store._markers])]
        assert store.last_cut() == number - (not all(marked))
    beside, dropped = (out / "cuts" / f".{number + 1:08d}.tmp").exists(), len(cut_numbers(out)) == KEPT
    found = {"beside": beside, "rows": {*has}, "markers": {*marked}, "dropped": dropped}
    before = {"beside": False, "rows": {False}, "markers": {False}, "dropped": False}
    written, marks = {"rows": {True}}, {"markers": {True}}
    expected = {
        # Whether old cuts are dropped hangs on where the process before was killed.
        "its files lie beside": written | marks | {"beside": True, "dropped": dropped},
        "it is visible": {},
        "some rows are written": {"rows": {True, False}},
        "all rows are written": written,
        "some markers are set": written | {"markers": {True, False}},
        "all markers are set": written | marks,
        "it is done": written | marks | {"dropped": True},
    }
    assert found == before | expected[moment], moment


def moments(kind: str, many: int, chance: random.Random) -> list[str]:
    """Each once, in any order, and then any; one server has one marker, which is set or not."""
    those = [one for one in MOMENTS if kind == "cluster" or one != "some markers are set"]
    return [*chance.sample(those, len(those)), *chance.choices(those, k=many - len(those))]


def test_a_follower_killed_around_a_cut_leaves_weights_offsets_and_memory_in_redis_as_an_unbroken_one(
    real: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: Callable[[int, int], int]
) -> None:
    name, chance, events = real.name(), random.Random(11), soak(EVENTS, SOAK_EVENTS)
    real.put(name, *messages(events))
    in_small_batches(monkeypatch.setattr)
    whole = begun_in(tmp_path / "whole", servers.cluster().url(), CUT_EVERY)
    follow(whole, at_once(whole), real.url(name), until_idle=0)
    assert counts(whole)["events"] == events
    for kind in SERVERS[: soak(1, 2)]:
        out = begun_in(tmp_path / kind, getattr(servers, kind)().url(), CUT_EVERY)
        for moment in moments(kind, SOAK, chance) if soak(0, 1) else SHORT:
            killed(out, real.url(name), moment, chance.randrange(1, 3))
            check_moment(out, moment)
        follow(out, at_once(out), real.url(name), until_idle=0)
        check_same(whole, out)


def check_same(whole: Path, out: Path) -> None:
    """Weights, offsets and memory, bit for bit."""
    assert_same_learning(whole, out)
    assert counts(out) == counts(whole)
    assert event_ids(out) == event_ids(whole)
    mine, theirs = (EventLog(folder / "events").manifest for folder in (out, whole))
    assert mine.data_hash == theirs.data_hash
    assert (mine.growth.read, mine.growth.settled) == (theirs.growth.read, theirs.growth.settled)
    assert sum(mine.growth.read.values()) > 2 * len(event_ids(out))
    first, second = (Cut(folder).state for folder in (out, whole))
    for what in ("position", "steps", "learned", "scored", "inbox", "waiting", "tally"):
        assert first[what] == second[what], what
    for side in ("late.ndjson", "rejected.ndjson"):
        assert aside(out, side) == aside(whole, side)
