"""While a trainer appends and primaries are killed, no reader ever gets a row of another user or position."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from marm.store import open_store
from tests.store import servers
from tests.store.other_process import check_whole, given_at, misplaced
from tests.store.rings import LAYOUT, rows_of

READERS = 2
SECONDS = 1.0
"""That a primary stays away, if another one has taken over by then."""


@contextmanager
def other(what: str, url: str, out: int | IO[str]) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.store.other_process", what, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_readers_beside_a_trainer_get_their_own_rows_while_primaries_are_killed(
    tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    cluster = servers.cluster()
    url, cuts = cluster.url(), tmp_path / "cuts"

    def cut() -> int:
        return len(cuts.read_text().splitlines())

    with ExitStack() as stack:
        writer = stack.enter_context(other("write", url, stack.enter_context(cuts.open("w"))))
        servers.wait_until(lambda: cut() > 1)
        readers = [stack.enter_context(other("look", url, subprocess.PIPE)) for _ in range(READERS)]
        assert [reader.stdout.readline() for reader in readers if reader.stdout] == ["ready\n"] * READERS
        for _ in range(soak(1, 20)):
            with cluster.failing("killed", SECONDS):
                time.sleep(SECONDS)
            before = cut()
            servers.wait_until(lambda before=before: cut() > before + 2)
        assert writer.poll() is None
        found = [json.loads(reader.communicate("stop\n", timeout=60)[0]) for reader in readers]
    print(found, cut())
    for one in found:
        assert one["wrong"] == one["damaged"] == 0, found
        assert one["rows"] > 1000 and one["furthest"] > 6, found
    store = open_store(url, LAYOUT, tmp_path)
    # What the killed one had begun is written again.
    last = store.last_cut() + 1
    store.append(rows_of(given_at(last)), last)
    check_whole(store, last)
    store.close()


@pytest.mark.parametrize(
    ("user", "position", "wrong"),
    [([3, 3, 8], [5, 6, 0], 0), ([3, 8, 8], [5, 6, 0], 1), ([3, 3, 8], [5, 5, 0], 1), ([3, 3, 8], [-1, 6, 1], 1)],
)
def test_a_row_of_another_user_or_position_is_counted(user: list[int], position: list[int], wrong: int) -> None:
    asked = np.array([3, 8], np.uint64), np.array([5, 0]), np.array([2, 1])
    assert misplaced(*asked, np.array(user, np.uint64), np.array(position)) == wrong
