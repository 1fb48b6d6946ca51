"""Two commands under one: one that dies comes back, a mistake ends both, and a signal ends both."""

import sys
import time

import pytest

from marm.cli import up
from marm.cli.up import Child, watch
from marm.train.follow import Signals


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """Children run Python text in place of a command."""
    real = up.subprocess.Popen

    def start(words):
        assert words[:3] == [sys.executable, "-m", "marm"]
        return real([sys.executable, "-c", words[3], str(tmp_path / "log")])

    monkeypatch.setattr(up.subprocess, "Popen", start)
    return tmp_path / "log"


LOG = "import sys; open(sys.argv[1], 'a').write('x');"


def tend_until(child, starts):
    end = time.monotonic() + 30
    while child.starts < starts and time.monotonic() < end:
        child.tend(time.monotonic())
        time.sleep(0.02)
    assert child.starts == starts


def test_a_child_that_dies_is_started_again_after_a_pause_that_doubles(scripts):
    child = Child([LOG + "sys.exit(1)"])
    began = time.monotonic()
    tend_until(child, 2)
    assert child.pause == 2.0
    assert time.monotonic() - began > 2.0
    child.wait(time.monotonic() + 20)
    assert scripts.read_text() == "xx"


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
