"""A run that is stopped at any moment and taken up again ends as the unbroken one, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.config import RunConfig, to_toml
from marm.metrics.spool import Spool
from marm.store import ArenaStore, LmdbStore
from marm.store.redis import RedisStore
from marm.store.redis_link import Link
from marm.train import cut
from marm.train import run as commands
from marm.train.files import Lines
from marm.train.learner import Learner
from marm.train.stepper import Stepper
from tests.store import servers
from tests.train.folders import assert_same_run
from tests.train.logs import STAGES, log_frame, run_over, write_world

RUNS: dict[str, dict[str, Any]] = {
    "arena, delay, negatives": {
        "data": {"feedback_delay": "delay"},
        "negatives": {"per_event": 1, "recent": 50},
    },
    "lmdb, delay, a budget, a hot arena for few, two passes": {
        "data": {"feedback_delay": "delay"},
        "memory": {"url": "lmdb://memory", "budget": 2000, "hot": 10 * 31 * 80},
        "train": {"passes": 2, "micro_batch": 8, "cut_every": 70},
    },
    "lmdb, segments, a filtered history, token shift": {
        "data": {"history": "click = 1"},
        "memory": {"url": "lmdb://memory"},
        "train": {"segment": 3, "segment_after": 300.0},
        "model": {"token_shift": True},
    },
    "lmdb, int8 states, delay, all stages, averaged weights": {
        "data": {"feedback_delay": "delay"},
        "memory": {"url": "lmdb://memory", "codec": "int8"},
        "train": {"average": 5},
        "stages": STAGES,
    },
    "lmdb, a search by signs, delay, a hot arena for few": {
        "data": {"feedback_delay": "delay"},
        "memory": {
            "url": "lmdb://memory",
            "window": 3,
            "hot": 10 * 31 * 140,
            "budget": 2000,
            "search": {"rule": "hash", "picked": 3, "history": 10},
        },
        "train": {"live": 3, "micro_batch": 8},
    },
    "lmdb, learned at once, averaged weights, states made anew and dropped by time": {
        "memory": {"url": "lmdb://memory", "budget": 3000, "hot": 10 * 31 * 80, "refresh": 11, "ttl": 300.0},
        "train": {"micro_batch": 8, "average": 5},
    },
}
ROUNDS, SOAK_ROUNDS = 3, 30
"""For each kind of run; up to two ends in a round."""
PROCESS_KILLS, SOAK_PROCESS_KILLS = 3, 20


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it, files stay as they are."""


class Reaper:
    """Counts the calls after which the disk or the weights are another, and ends the run at one of them."""

    PLACES: tuple[tuple[Any, str], ...] = (
        (os, "fsync"),
        (Path, "rename"),
        (Path, "replace"),
        (Path, "mkdir"),
        (cut.shutil, "rmtree"),
        (cut, "save_file"),
        (ArenaStore, "append"),
        (LmdbStore, "append"),
        (LmdbStore, "clear"),
        (RedisStore, "append"),
        (RedisStore, "clear"),
        (Link, "ask"),
        (Stepper, "step"),
        (Learner, "learn"),
        (Spool, "_write"),
        (Lines, "truncate"),
    )

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls, self.at, self.before, self.among = 0, -1, True, ""
        for owner, name in self.PLACES:
            patch.setattr(owner, name, self._watched(getattr(owner, name), name))

    def arm(self, at: int, before: bool, among: str = "") -> None:
        """End the run at this call from now on (of this name): before it is done, or right after."""
        self.calls, self.at, self.before, self.among = 0, at, before, among

    def _watched(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(*args: Any, **named: Any) -> Any:
            counted = self.among in ("", name)
            mine = counted and self.calls == self.at
            self.calls += counted
            if mine and self.before:
                if name == "_write":
                    real(args[0], args[1][: len(args[1]) // 2])
                raise Killed
            done = real(*args, **named)
            if mine:
                raise Killed
            return done

        return watched


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("kind", RUNS)
def test_a_run_ended_at_any_call_ends_like_the_unbroken_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: Callable[[int, int], int]
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=120))
    run = run_over(world, **RUNS[kind])
    check_ends(tmp_path, run, lambda: run, Reaper(monkeypatch), soak(ROUNDS, SOAK_ROUNDS), kind)


@pytest.mark.usefixtures("no_report")
def test_a_run_in_redis_ended_at_any_call_ends_like_the_unbroken_one_in_lmdb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: Callable[[int, int], int]
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=120))
    shape: dict[str, Any] = {"data": {"feedback_delay": "delay"}, "train": {"passes": 2, "cut_every": 70}}
    rings: dict[str, Any] = {"budget": 2000, "hot": 10 * 31 * 80}
    whole = run_over(world, memory={"url": "lmdb://memory", **rings}, **shape)

    def in_redis() -> RunConfig:
        return run_over(world, memory={"url": servers.cluster().url(), **rings}, **shape)

    check_ends(tmp_path, whole, in_redis, Reaper(monkeypatch), soak(ROUNDS, SOAK_ROUNDS), "redis")


def check_ends(
    folder: Path, whole: RunConfig, run_for: Callable[[], RunConfig], reaper: "Reaper", rounds: int, seed: str
) -> None:
    commands.train(whole, folder / "whole")
    calls, chance = reaper.calls, random.Random(seed)
    for number in range(rounds):
        out = folder / f"broken{number}"
        run = run_for()
        # Somewhere in each part of the run; then where a cut is visible and the store does not have it yet.
        first = int((number + chance.random()) * calls / rounds)
        ends = [(first, chance.random() < 0.5, ""), (chance.randrange(2), True, "append")]
        for end in ends:
            reaper.arm(*end)
            if finished(run, out):
                break
        reaper.arm(-1, True)
        take_up(run, out)
        try:
            assert_same_run(folder / "whole", out)
        except AssertionError as error:
            raise AssertionError(f"ended at calls {ends} of {calls}") from error


def finished(run: RunConfig, out: Path) -> bool:
    try:
        take_up(run, out)
    except Killed:
        return False
    return True


def take_up(run: RunConfig, out: Path) -> None:
    """What a person does: resume, or train where not even the run file was written."""
    if (out / "run.toml").exists():
        commands.resume(out)
    else:
        commands.train(run, out)


def process(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "marm", *words, "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_change(path: Path, child: subprocess.Popen[bytes]) -> None:
    """Until the path appears or its size changes, or the child has ended."""
    old = size_of(path)
    while size_of(path) == old and child.poll() is None:
        time.sleep(0.002)


@pytest.mark.parametrize("where", ["lmdb", "redis"])
def test_a_process_killed_at_any_moment_ends_like_the_unbroken_one(
    where: str, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    """One folder after the other, up to four kills in each; the first whole run is another process than this one too."""
    world = write_world(tmp_path / "world", log_frame(events=300))
    delayed = {"feedback_delay": "delay"}
    commands.train(run_over(world, memory={"url": "lmdb://memory"}, data=delayed), tmp_path / "whole")
    kills = soak(PROCESS_KILLS if where == "lmdb" else 1, SOAK_PROCESS_KILLS)
    chance, left, folder = random.Random(7), kills, 0
    while left:
        out = tmp_path / f"broken{folder}"
        url = "lmdb://memory" if where == "lmdb" else servers.single().url()
        run = run_over(world, memory={"url": url}, data=delayed)
        (tmp_path / "run.toml").write_text(to_toml(run), encoding="utf-8")
        folder += 1
        for _ in range(4):
            left -= kill_once(tmp_path / "run.toml", out, chance)
            if not left:
                break
        last(tmp_path / "run.toml", out)
        assert_same_run(tmp_path / "whole", out)


def words_for(run: Path, out: Path) -> list[str]:
    return ["resume", str(out)] if (out / "run.toml").exists() else ["train", str(run), "--out", str(out)]


def kill_once(run: Path, out: Path, chance: random.Random) -> bool:
    """Start, wait until it is at work, and kill it some time later; whether it was still alive."""
    child = process(*words_for(run, out))
    wait_for_change(out / "predictions.spool" if (out / "run.toml").exists() else out / "run.toml", child)
    time.sleep(chance.random())
    alive = child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.communicate()
    return alive


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def last(run: Path, out: Path) -> None:
    child = process(*words_for(run, out))
    _, said = child.communicate()
    assert child.returncode == 0, said.decode()
    assert pl.read_parquet(out / "predictions.parquet").height == 300
