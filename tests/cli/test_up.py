"""Two commands under one: one that dies comes back, a mistake ends both, and a signal ends both."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import typer

from marm.cli import up
from marm.cli.up import Child, watch
from marm.train.follow import Signals


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """Children run Python text in place of a command."""
    real = up.subprocess.Popen

    def start(words, env):
        assert words[:3] == [sys.executable, "-m", "marm"]
        return real([sys.executable, "-c", words[3], str(tmp_path / "log")])

    monkeypatch.setattr(up.subprocess, "Popen", start)
    return tmp_path / "log"


LOG = "import sys; open(sys.argv[1], 'a').write('x');"


def test_a_child_that_dies_is_started_again_after_a_pause_that_doubles(scripts):
    child, now = Child([LOG + "sys.exit(1)"]), 0.0
    for starts, pause in enumerate((2.0, 4.0, 8.0), 1):
        child.tend(now)
        child.process.wait()
        assert child.tend(now) == 1
        child.tend(now + pause - 0.01)
        assert (child.starts, child.pause, child.process) == (starts, pause, None)
        now += pause
    assert scripts.read_text() == "xxx"


def test_a_child_that_lived_long_comes_back_after_a_second(scripts):
    child = Child([LOG + "sys.exit(1)"])
    child.pause = 32.0
    child.tend(time.monotonic())
    child.process.wait()
    assert child.tend(time.monotonic() + 100) == 1
    assert child.pause == 1.0


def test_a_mistake_at_the_first_start_ends_it_all(scripts):
    lasting = Child(["import time; time.sleep(60)"])
    assert watch([lasting, Child(["import sys; sys.exit(2)"])], Signals()) == 2
    lasting.stop()
    lasting.wait(time.monotonic() + 10)
    assert lasting.process.returncode == -15


def test_a_child_that_does_not_leave_is_made_to(scripts):
    child = Child(["import signal, sys, time; signal.signal(15, signal.SIG_IGN);" + LOG + "time.sleep(60)"])
    child.tend(time.monotonic())
    while not scripts.exists():
        time.sleep(0.02)
    child.stop()
    child.wait(time.monotonic() + 0.2)
    assert child.process.returncode == -9


def test_a_signal_ends_the_watch(scripts):
    signals = Signals()
    signals.asked = True
    assert watch([Child(["1"])], signals) == 0


_UP = """
import sys, time
from marm.cli.up import Child
child = Child(["resume", sys.argv[1]])
child.tend(time.monotonic())
print(child.process.pid, flush=True)
time.sleep(600)
"""


def test_children_end_when_it_is_killed(tmp_path):
    """A child that waits for ever for its run file: a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "run.toml")
    up = subprocess.Popen([sys.executable, "-c", _UP, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(up.stdout.readline())
    # Once it has the signal asked for and has started itself anew with the allocator set, it reads.
    until(lambda: b"MALLOC_TOP_PAD_" in Path(f"/proc/{child}/environ").read_bytes())
    up.send_signal(signal.SIGKILL)
    try:
        # Not until its output ends, which a child that lives on holds open.
        up.wait()
        until(lambda: not alive(child), seconds=20)
    finally:
        up.stdout.close()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def alive(pid):
    """Whether it runs; one that ended may wait for somebody to ask how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_settings_go_to_the_command_that_knows_them(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(up, "run_of", lambda folder: None)
    monkeypatch.setattr(up, "watch", lambda children, signals: told.extend(child.words for child in children) or 0)
    monkeypatch.setattr(Signals, "watch", lambda self: None)
    with pytest.raises(typer.Exit):
        up.up(tmp_path, sets=["serve.look=1", "follow.wait=2", "kafka.lateness=3", "serve.queue=4"])
    serve, follow = told
    assert serve[-4:] == ["--set", "serve.look=1", "--set", "serve.queue=4"]
    assert follow[-4:] == ["--set", "follow.wait=2", "--set", "kafka.lateness=3"]
