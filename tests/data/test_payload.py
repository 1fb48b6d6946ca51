"""What damaged Arrow messages do to a process that reads them: nothing, each is refused with its reason."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from marm.data.lines import frame_of
from marm.data.payload import arrow_frame, rows_of
from tests.data.damage import events, stream_of, valid

ROOT = Path(__file__).parents[2]
MOST = 2**30
"""Bytes by which reading damaged messages may let a process grow, those that it makes for the test included."""


@pytest.mark.soak
def test_no_damaged_message_ends_the_process_or_takes_much(soak: Callable[[int, int], int]) -> None:
    command = [sys.executable, "-m", "tests.data.damage", "0", str(soak(200, 30_000))]
    env = {**os.environ, "RUST_BACKTRACE": "0"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["grew"] < MOST
    assert len(told["reasons"]) > 10


def test_a_length_of_which_one_bit_is_wrong_is_told_in_one_line() -> None:
    value = bytearray(stream_of(events()))
    value[382] ^= 1
    (bad,) = rows_of([bytes(value)]).bad
    assert bad == (0, "an Arrow IPC stream that cannot be read (a buffer ends beyond its message)")


def test_every_kind_of_stream_is_read() -> None:
    for value in valid():
        frame = arrow_frame(value)
        assert not isinstance(frame, str)
        assert rows_of([value]).row == frame.to_dicts()


def test_a_stream_whose_column_holds_what_no_other_does_is_refused_alone() -> None:
    odd, refused = stream_of(events(3).with_columns(user=pl.lit([1]))), dict[int, str]()
    good = stream_of(events())
    assert frame_of([good, odd, good], refused.setdefault).height == 80
    assert list(refused) == [1] and refused[1].startswith("user = [1]: others have")
