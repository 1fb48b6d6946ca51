"""Who is lost for age, by the run's own clock or by the servers', is lost on many ranks as in one process, and told once."""

import json
import logging
from pathlib import Path
from typing import Any

from marm.config import RunConfig
from marm.ranks import Group
from marm.store import Rows
from marm.store.redis import RedisStore
from marm.train import applied, trainer
from marm.train import run as commands
from tests.ranks.processes import together
from tests.ranks.test_train import check_like
from tests.store import servers
from tests.train.folders import remembered
from tests.train.logs import log_frame, run_over, write_world

LET_GO = (3, 5)
"""Cuts after which servers let go of every second user."""


def apply(store: RedisStore, number: int, rows: Rows, cleared: bool) -> None:
    """Append, and then what a server does with keys whose time is over."""
    applied.apply(store, number, rows, cleared)
    if number in LET_GO:
        store._delete(store.holding().users[::2])


class Told(logging.Handler):
    """Keeps the counts of users that were let go, as they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "had let go of" in record.msg:
            assert isinstance(record.args, tuple) and isinstance(record.args[0], int)
            self.counts.append(record.args[0])


def train(group: Group, run: RunConfig, out: Path) -> None:
    told = Told()
    logging.getLogger("marm.memory").addHandler(told)
    trainer.apply = apply  # type: ignore[assignment]
    commands.train(run, out, page=False, group=group)
    if told.counts:
        (out / f"told{group.rank}.json").write_text(json.dumps(told.counts))


def test_users_lost_for_age_are_those_of_one_process_and_are_told_in_one_line(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", log_frame(events=160))
    shape: dict[str, Any] = {"micro_batch": 8, "first_batch": 8, "cut_every": 20, "window_events": 20}
    for ranks in (1, 2):
        memory = {"url": servers.single().url(), "codec": "float32", "ttl": 300.0}
        run = run_over(world, memory=memory, train=shape)
        assert together(ranks, train, run, tmp_path / f"{ranks}") == [0] * ranks
    one, many = tmp_path / "1", tmp_path / "2"
    told = {path.name: json.loads(path.read_text()) for path in many.glob("told*.json")}
    assert told == {"told0.json": json.loads((one / "told0.json").read_text())} and sum(told["told0.json"]) > 5
    assert any(
        states_from > 0 for _, states_from, *_ in remembered(one).values()
    )  # by memory.ttl: rings are long enough
    check_like(one, many)
