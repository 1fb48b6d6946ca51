"""A new model takes over server by server: both models answer at once, and all that was acknowledged is learned by the new."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from marm.data.stream import EventLog
from marm.errors import LayoutError
from marm.store import open_store
from marm.train import inspect
from marm.train import run as commands
from marm.train.cut import Cut
from marm.train.follow import follow
from marm.train.opened import to_read
from tests.server.balancer import Balancer
from tests.server.processes import Client, together
from tests.server.running import Running
from tests.server.test_load import ITEMS, USERS, check_nothing_lost, until
from tests.store import servers
from tests.train.feeding import quick
from tests.train.logs import run_over, write_world

SECONDS, SOAK_SECONDS = 1, 30
"""Of load before each step."""
OTHER = {"layers": 2, "width": 16}
"""A model that cannot read what the old one remembered."""


def follow_from(old: Path, new: Path) -> None:
    """What servers of the one are told is what servers of the other are told, as docs/serving.md says."""
    for name in ("inbox", "items.ndjson"):
        (new / name).symlink_to(Path("..") / old.name / name)


class Learning(Thread):
    """`marm follow` of a folder, until it is left."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder, self._asked, self._failed = folder, Event(), list[BaseException]()
        self._run = quick(folder, wait=0.4, gather=0.3, cut_every=0.5)

    def run(self) -> None:
        """Follow; what it dies of is raised by whoever ends it."""
        try:
            follow(self._folder, self._run, stop=self._asked.is_set)
        except BaseException as error:
            self._failed.append(error)

    def learned(self) -> int:
        """Events that a cut holds beyond those trained on."""
        return int(Cut(self._folder).state["position"]) - EventLog(self._folder / "events").manifest.prepared

    def until_more(self) -> None:
        """Wait for a cut of more."""
        before = self.learned()
        until(lambda: self.learned() > before or bool(self._failed))

    def end(self) -> None:
        """End in order."""
        self._asked.set()
        self.join(60)
        assert not self.is_alive() and not self._failed, self._failed

    def __enter__(self) -> "Learning":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@pytest.fixture
def generations(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of an old and a new model, whose memories lie in one Redis server under two names."""
    world, url = write_world(tmp_path / "world"), servers.single().url()
    for name, model in (("old", {}), ("new", OTHER)):
        run = run_over(world, memory={"url": f"{url}.{name}", "codec": "float32"}, model=model)
        commands.train(run, tmp_path / name, page=False)
    return tmp_path / "old", tmp_path / "new"


def test_servers_move_to_a_new_model_one_by_one_and_no_feedback_is_lost(
    generations: tuple[Path, Path],
    tmp_path: Path,
    start: Callable[..., Running],
    soak: Callable[[int, int], int],
) -> None:
    (old, new), seconds = generations, soak(SECONDS, SOAK_SECONDS)
    serving = [start(old, "serve.look=0.1") for _ in range(2)]
    with Learning(old) as learning, Balancer([server.address for server in serving]) as balancer:
        clients = [Client(f"client {number}", balancer.address, USERS, ITEMS) for number in range(2)]
        for client in clients:
            client.start()
        learning.until_more()
        time.sleep(seconds)
        follow_from(old, new)
        with Learning(new) as learning_anew:
            for number in (1, 0):
                moved = start(new, "serve.look=0.1")
                balancer.addresses[number] = moved.address
                serving[number].stop()
                serving[number] = moved
                if number:
                    check_both(*serving)
                learning_anew.until_more()
                time.sleep(seconds)
            learning.end()
            noted = together(clients)
            noted.accepted["both"] = 1
            until(lambda: learning_anew.learned() == len(noted.accepted))
    assert {status for _, status in noted.answers} <= {200, 202, 502, 503}, noted.faults
    assert not noted.degraded and len(noted.accepted) > 20
    check_nothing_lost(new, noted, in_time=0.1)
    check_own_rows(old, new)


def check_both(old: Running, new: Running) -> None:
    """Each answers with its own model, and knows at once what the other one is told."""
    asked, told = (
        {"user": "u1", "candidates": ITEMS},
        {"event_id": "both", "user": "u1", "item": 3, "outcomes": {"click": 1}},
    )
    before = [server.post("/v1/rank", asked) for server in (old, new)]
    assert not any(answer["degraded"] for answer in before)
    assert before[0]["items"] != before[1]["items"]
    for server, accepted in ((old, 1), (new, 0)):
        answer = server.client.post("/v1/events", json={"events": [told]}).json()
        assert (answer["accepted"], answer["duplicates"]) == (accepted, 1 - accepted)
    for server in (old, new):
        rows = server.client.get("/v1/inspect/users/u1").json()["rows"]
        assert "3" in [str(row["item"]) for row in rows[:5]]


def check_own_rows(old: Path, new: Path) -> None:
    """Both memories are whole, and neither model reads the other's."""
    with to_read(old) as one, to_read(new) as other:
        assert one.run.memory.url != other.run.memory.url and one.store.holding().next.sum() > 0
        with pytest.raises(LayoutError, match=r"holds .*, this model reads .*: point memory.url at a new store"):
            open_store(one.run.memory.url, other.store.layout, new, True)
    for folder in (old, new):
        assert inspect.verify(folder, False, commands.quiet)["damaged"] == []
