"""The cluster demo in small: one of each is killed and accounts are even; what is not even is told; nothing stays behind."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marm.cli.cluster.accounts import against_stream
from marm.cli.cluster.demo import play
from marm.cli.cluster.load import misplaced
from marm.errors import FolderError
from marm.store.base import Rows
from marm.train import run as commands
from marm.train.opened import Opened, to_change
from tests.store import servers
from tests.train.logs import run_over, write_world

LONGEST = 500
MOST = 180 * 20_000 / 8_000
"""Seconds for the events of the long test: `make cluster-demo` has 3 minutes for 8,000."""
EVEN = [
    r"even: (?P<events>[\d,]+) events of the log: (?P=events) scored and learned from, each once",
    r"even: (?P<asked>[\d,]+) requests: (?P=asked) answered, 0 wrongly; [\d,]+ asked again, [\d,]+ said to be degraded",
    r"even: (?P<told>[\d,]+) events told and acknowledged: (?P=told) in the stream, each once, 0 missing; 0 not learned from",
    r"even: (?P<users>[\d,]+) users in Redis: (?P<rows>[\d,]+) rows compared with the stream, 0 of another user or position, "
    r"0 users damaged",
    r"even: (?P<seen>[\d,]+) histories looked at through the servers: [\d,]+ rows, 0 histories with a row of another user or "
    r"position",
]


def begin(out: Path, *sizes: object) -> "subprocess.Popen[str]":
    servers.binary()
    words = [sys.executable, "-m", "marm", "cluster-demo", "--out", str(out), *map(str, sizes)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def listening(out: Path) -> list[int]:
    """Ports of its Redis nodes, by their folders, that somebody listens at."""
    found = []
    for path in (out / "redis").glob("*"):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(path.name))) == 0:
                found.append(int(path.name))
    return found


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_one_of_each_is_killed_under_load_and_the_accounts_are_even(
    tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    events, out, began = soak(2000, 20_000), tmp_path / "out", time.monotonic()
    told, said = begin(out, "--events", events, "--users", soak(30, 300), "--items", 200).communicate(timeout=LONGEST)
    took, lines = time.monotonic() - began, told.splitlines()
    assert len(lines) == len(EVEN), said + told
    found = dict[str, int]()
    for pattern, line in zip(EVEN, lines, strict=True):
        matched = re.fullmatch(pattern, line)
        assert matched, said + told
        found |= {name: number(text) for name, text in matched.groupdict().items()}
    assert found["events"] == events and found["told"] > 5 and found["seen"] > 5 and found["asked"] > 20
    for what in ("a rank killed", "a Redis primary killed", "a server killed"):
        assert re.search(rf"{what}.* \d+\.\d s later", said), said
    assert not (out / "redis").exists()
    since = [float(seconds) for seconds in re.findall(r"^ *(\d+\.\d) s  \S", said, re.M)]
    assert len(since) > 6 and since == sorted(since) and 0 < since[-1] < took < soak(LONGEST, round(MOST))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_it_no_server_stays(tmp_path: Path, number: int) -> None:
    out = tmp_path / "out"
    demo = begin(out, "--events", 1000)
    try:
        servers.wait_until(lambda: len(listening(out)) == 6 or demo.poll() is not None)
        demo.send_signal(number)
        demo.communicate(timeout=LONGEST)
    finally:
        demo.kill()
    assert demo.returncode not in (0, 2)
    servers.wait_until(lambda: not listening(out))


def test_without_redis_it_is_one_line_and_an_earlier_demo_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "world.json").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FolderError, match=r"^redis-server: not found on this machine: install it \("):
        play(tmp_path, 10, 100, 1000)
    assert (tmp_path / "log" / "world.json").exists()


LOG = [(1, 7), (1, 8), (5, 7), (9, 9)]


@pytest.mark.parametrize("shown", [[], LOG, LOG[1:3], [*LOG, (20, 3)], [*LOG[:2], (20, 3), (21, 4)], [(21, 4)]])
def test_a_run_of_the_log_and_then_of_what_was_told_is_in_place(shown: list[tuple[int, int]]) -> None:
    assert not misplaced(shown, LOG, [3, 4])


@pytest.mark.parametrize(
    "shown",
    [
        [(1, 6)],  # another user's
        [LOG[0], LOG[2]],  # one is missing
        [LOG[1], LOG[0]],  # in another order
        [*LOG, (20, 4), (21, 3)],
        [*LOG, (20, 5)],
        [*LOG, (20, 3), (21, 3)],
        [LOG[0], LOG[0]],
    ],
)
def test_any_other_row_is_misplaced(shown: list[tuple[int, int]]) -> None:
    assert misplaced(shown, LOG, [3, 4])


def test_memory_is_held_against_the_stream_row_by_row(tmp_path: Path) -> None:
    run = run_over(write_world(tmp_path / "world"), memory={"url": "lmdb://memory"})
    commands.train(run, tmp_path / "run", page=False)
    with to_change(tmp_path / "run") as opened:
        events, users = len(opened.log), len(opened.store.holding().users)
        assert against_stream(opened) == (users, events, 0)
        swap_newest(opened, 3)
        assert against_stream(opened) == (users, events, 2)
        opened.store.forget(opened.store.holding().users[-1:])
        assert against_stream(opened)[2] >= 1


def swap_newest(opened: Opened, at: int) -> None:
    """Give a user's newest row to another user, and that one's to it."""
    store, held = opened.store, opened.store.holding()
    pair = np.array([0, at])
    users, next_ = held.users[pair], held.next[pair]
    facts, ones = store.read_facts(users, 1).facts[::-1].copy(), np.ones(2, np.int64)
    states = store.read_states(users, next_ - 1, ones)[0].copy()
    rows = Rows(users, next_ - 1, ones, facts, states, held.states_from[pair], held.seen[pair])
    store.append(rows, store.last_cut() + 1)
