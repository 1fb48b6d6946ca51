"""While a trainer appends and primaries are killed, no reader ever gets a row of another user or position."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marm.store import open_store
from tests.store import servers
from tests.store.other_process import check_whole, given_at, misplaced
from tests.store.rings import LAYOUT, rows_of

READERS = 2
ROWS = 1000
"""That each reader looks at before and after."""
SECONDS = 1.0
"""That a primary stays away, if another one has taken over by then."""


class Other:
    """Another process that does something to a store and prints lines."""

    def __init__(self, what: str, url: str, said: Path) -> None:
        self._said = said
        with said.open("w") as file:
            command = [sys.executable, "-m", "tests.store.other_process", what, url]
            self.process = subprocess.Popen(command, stdout=file)

    def lines(self) -> list[str]:
        return self._said.read_text().split("\n")[:-1]

    def rows(self) -> int:
        """Rows that a reader has looked at."""
        return int(json.loads(self.lines()[-1])["rows"]) if self.lines() else 0

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def test_readers_beside_a_trainer_get_their_own_rows_while_primaries_are_killed(
    tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    cluster = servers.cluster()
    url, others = cluster.url(), list[Other]()

    def all_go_on() -> None:
        """The writer cuts, and each reader reads."""
        cuts, read = len(writer.lines()), [reader.rows() for reader in readers]
        servers.wait_until(lambda: len(writer.lines()) > cuts + 2)
        servers.wait_until(lambda: all(one.rows() > rows + ROWS for one, rows in zip(readers, read, strict=True)))

    try:
        others.append(writer := Other("write", url, tmp_path / "writer"))
        servers.wait_until(lambda: len(writer.lines()) > 1)
        others += (readers := [Other("look", url, tmp_path / f"reader{number}") for number in range(READERS)])
        all_go_on()
        for _ in range(soak(1, 20)):
            with cluster.failing("killed", SECONDS):
                time.sleep(SECONDS)
            all_go_on()
        found = [json.loads(reader.lines()[-1]) for reader in readers]
    finally:
        for one in others:
            one.end()
    print(found, len(writer.lines()))
    for counts in found:
        assert counts["wrong"] == counts["damaged"] == 0, found
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
