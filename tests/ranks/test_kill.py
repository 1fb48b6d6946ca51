"""A rank that is killed ends the job; the run is whole up to its last cut, and goes on from there on any number of ranks."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.config import RunConfig, to_toml
from marm.nn.sharded import ShardedTable
from marm.ranks import ALONE, Group, owners
from marm.train import inspect, trainer
from marm.train import run as commands
from marm.train.stepper import Stepper
from tests.ranks.processes import together
from tests.ranks.test_table import BIASES, ROWS, WIDTH, steps
from tests.ranks.test_train import check_like, train
from tests.train.folders import assert_same_run, remembered, result
from tests.train.logs import STAGES, log_frame, run_over, write_world
from tests.train.test_memory import damage

EVENTS = 160
SHAPE: dict[str, Any] = {
    "memory": {"url": "lmdb://memory", "codec": "float32", "refresh": 11},
    "data": {"feedback_delay": "delay"},
    "train": {"cut_every": 40, "micro_batch": 8, "first_batch": 8},
    "stages": STAGES,
}
LONGEST = 120
"""Seconds for processes that a person would start."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return run_over(write_world(tmp_path_factory.mktemp("world"), log_frame(events=EVENTS)), **SHAPE)


@pytest.fixture(scope="module")
def whole(run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unbroken run of two ranks.

    One process compiles the loops before: where two do at once, each may make one that adds up in another order.
    """
    commands.train(run, tmp_path_factory.mktemp("one") / "run", page=False)
    table = ShardedTable(ROWS, WIDTH, 3, ALONE, biases=BIASES)
    for bags, outputs, parts in steps(0):
        table.lookup(bags, outputs)
        table.learn(parts, 0.1)
    owners(np.zeros(0, np.uint64), 2)
    out = tmp_path_factory.mktemp("whole") / "run"
    assert together(2, train, run, out) == [0, 0]
    return out


def dying(owner: Any, name: str, calls: int) -> None:
    """End this process, as SIGKILL does, at a call of this name."""
    real, seen = getattr(owner, name), [0]

    def watched(*args: Any, **named: Any) -> Any:
        seen[0] += 1
        if seen[0] == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **named)

    setattr(owner, name, watched)


PLACES: dict[str, tuple[Any, str]] = {
    "in a step": (Stepper, "step"),
    "in a cut": (trainer, "gathered"),
    "a cut is visible, the store has not heard of it": (trainer, "apply"),
}
MOMENTS = [(1, "in a step", 14, 2), (1, "in a cut", 4, 1), (0, "a cut is visible, the store has not heard of it", 3, 3)]
"""Who dies, where, at which call; on how many ranks the run goes on."""


def killed(group: Group, run: RunConfig, out: Path, rank: int, place: str, calls: int) -> None:
    if group.rank == rank:
        dying(*PLACES[place], calls)
    train(group, run, out)


def resume(group: Group, out: Path) -> None:
    commands.resume(out, page=False, group=group)


def test_a_run_goes_on_where_its_last_cut_was_made(
    run: RunConfig, whole: Path, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    chance = random.Random(5)
    more = [
        (0, place, chance.randrange(1, 4), chance.randrange(1, 4))
        if place.startswith("a cut")
        else (chance.randrange(2), place, chance.randrange(1, 5), chance.randrange(1, 4))
        for place in PLACES
        for _ in range(soak(0, 5))
    ]
    for number, (rank, place, calls, ranks) in enumerate([*MOMENTS[: soak(2, len(MOMENTS))], *more]):
        out, moment = tmp_path / f"run{number}", f"rank {rank}, {place}, call {calls}, on by {ranks}"
        codes = together(2, killed, run, out, rank, place, calls)
        assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 1, moment
        if ranks == 1:
            commands.resume(out, page=False)
        else:
            assert together(ranks, resume, out) == [0] * ranks, moment
        if ranks == 2:
            assert_same_run(whole, out)
        else:
            check_like(whole, out)


def test_a_damaged_user_begins_anew_once(run: RunConfig, tmp_path: Path) -> None:
    out = tmp_path / "run"
    together(2, killed, run, out, 0, "in a step", 14)
    users = np.fromiter(remembered(out), np.uint64)
    user = int(users[owners(users, 2) == 1][0])
    damage(out, user)
    assert together(2, resume, out) == [0, 0]
    told = result(out)
    assert told["memory"]["users_damaged"] == 1 and told["whole"]["click"]["events"] == EVENTS
    assert user in remembered(out) and inspect.verify(out, False, commands.quiet)["damaged"] == []


def start(*words: object, by: Sequence[object] = (sys.executable, "-m", "marm")) -> subprocess.Popen[str]:
    command = list(map(str, (*by, *words)))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def child_of(parent: int, rank: int) -> int:
    """The process of a rank that another one started."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError(f"no rank {rank}")


def until(true: Callable[[], bool], job: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LONGEST
    while not true() and job.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def test_the_command_ends_when_a_rank_is_killed(run: RunConfig, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(to_toml(run), encoding="utf-8")
    out = tmp_path / "run"
    job = start("train", tmp_path / "run.toml", "--out", out, "--ranks", 2, "--quiet")
    spool = out / "predictions.spool"
    until(lambda: spool.exists() and spool.stat().st_size > 0, job)
    os.kill(child_of(job.pid, 1), signal.SIGKILL)
    told, said = job.communicate(timeout=LONGEST)
    assert (job.returncode, told) == (1, "")
    assert "rank 1 ended (-9)" in said and "Traceback" not in said
    commands.resume(out, page=False)
    check_like(whole, out)


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "marm")


def test_torchrun_starts_the_same_run_and_ends_when_a_rank_is_killed(
    run: RunConfig, whole: Path, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(run), encoding="utf-8")
    out = tmp_path / "run"
    assert finish(start("train", tmp_path / "run.toml", "--out", out, "--quiet", by=TORCHRUN))[0] == 0
    assert_same_run(whole, out)
    for rank in range(soak(0, 2)):
        out = tmp_path / f"broken{rank}"
        job = start("train", tmp_path / "run.toml", "--out", out, "--quiet", by=TORCHRUN)
        spool = out / "predictions.spool"
        until(lambda spool=spool: spool.exists() and spool.stat().st_size > 0, job)
        os.kill(child_of(job.pid, rank), signal.SIGKILL)
        code, said = finish(job)
        assert code > 0 and "Signal 9 (SIGKILL)" in said
        assert not (out / "result.json").exists()
        code, said = finish(start("resume", out, "--quiet", by=TORCHRUN))
        assert code == 0, said
        assert_same_run(whole, out)


def finish(job: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was said; none that torchrun started outlives it."""
    try:
        _, said = job.communicate(timeout=LONGEST)
    finally:
        job.terminate()
    return job.returncode, said
