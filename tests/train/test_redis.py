"""Servers that acknowledged cuts and came back without them: what the folder keeps is written again, and not more."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.config import RunConfig
from marm.config.memory import DAY
from marm.errors import FolderError, StoreError
from marm.store import Rows, Store, redis
from marm.store.redis import RedisStore
from marm.store.redis_link import Patience
from marm.train import applied, rebuild, trainer, transfer
from marm.train import opened as opened_module
from marm.train import run as commands
from marm.train.cut import Cut
from marm.train.opened import to_change, to_read
from marm.train.run import quiet
from tests.store import servers
from tests.train.dying import ended_by_append
from tests.train.folders import assert_same_run, predictions, remembered, result
from tests.train.logs import log_frame, run_over, write_world


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_cuts_that_servers_lost_are_written_again_from_the_folder(
    lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=150))
    often = {"cut_every": 20}
    commands.train(run_over(world, memory={"url": "lmdb://memory"}, train=often), tmp_path / "whole")
    kept = Cut(tmp_path / "whole").number - lost

    def losing(store: Store, number: int, rows: Rows, cleared: bool) -> None:
        if number <= kept:
            applied.apply(store, number, rows, cleared)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "apply", losing)
        commands.train(run_over(world, memory={"url": servers.single().url()}, train=often), tmp_path / "run")
    if lost > 2:
        with pytest.raises(FolderError, match="what lies between is in no other place"), to_change(tmp_path / "run"):
            pass
        return
    with to_change(tmp_path / "run") as opened:
        assert opened.store.last_cut() == kept + lost
    assert remembered(tmp_path / "run") == remembered(tmp_path / "whole")


def test_training_outlasts_a_cluster_that_fails_for_a_while(
    tmp_path: Path, soak: Callable[[int, int], int], no_report: None
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=150))
    often = {"cut_every": 40}
    commands.train(run_over(world, memory={"url": "lmdb://memory"}, train=often), tmp_path / "whole")
    for how in ("frozen", "killed"):
        run = run_over(world, memory={"url": servers.cluster().url()}, train=often)
        train_through(how, soak(2, 30), run, tmp_path / how)
        assert_same_run(tmp_path / "whole", tmp_path / how)


def train_through(how: str, seconds: float, run: RunConfig, out: Path) -> None:
    """Train, while the cluster fails from somewhere in the middle on."""
    with ExitStack() as struck:
        failing = [servers.cluster().failing(how, seconds)]
        commands.train(
            run, out, lambda told: told.get("events", 0) > 70 and failing and struck.enter_context(failing.pop())
        )
    assert not failing


def test_a_run_whose_server_dies_stops_in_one_line_and_goes_on_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    world = write_world(tmp_path / "world", log_frame(events=150))
    often = {"cut_every": 40}
    commands.train(run_over(world, memory={"url": "lmdb://memory"}, train=often), tmp_path / "whole")
    monkeypatch.setattr(redis, "TRAINING", Patience(timeout=2.0, seconds=0.3))
    server = servers.Server("--appendonly", "yes", "--appendfsync", "always")
    try:
        run = run_over(world, memory={"url": server.url()}, train=often)
        with pytest.raises(StoreError, match=r"does not answer .*`marm resume` goes on from there"):
            commands.train(run, tmp_path / "run", lambda told: server.kill() if told.get("events", 0) > 70 else None)
        with pytest.raises(StoreError, match="does not answer"):
            commands.resume(tmp_path / "run")
        server.start()
        commands.resume(tmp_path / "run")
        assert_same_run(tmp_path / "whole", tmp_path / "run")
    finally:
        server.end()


def test_a_trainer_whose_users_redis_lets_go_goes_on_with_them_as_newcomers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, no_report: None
) -> None:
    world, server = write_world(tmp_path / "world", log_frame(events=240)), servers.single()
    memory = {"url": server.url("aging"), "redis_ttl_days": 0.1 / DAY, "hot": 10 * 31 * 80}

    def in_time(store: Store, number: int, rows: Rows, cleared: bool) -> None:
        """By the next step nobody is there any more; at one of the cuts the trainer ends."""
        applied.apply(store, number, rows, cleared)
        with server.client() as client:
            servers.wait_until(lambda: not any(client.scan_iter(match="aging:{*}")))
        if number == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "apply", in_time)
    run = run_over(world, memory=memory, train={"cut_every": 20, "micro_batch": 8})
    with pytest.raises(KeyboardInterrupt):
        commands.train(run, tmp_path / "run")
    commands.resume(tmp_path / "run")
    found = result(tmp_path / "run")
    assert found["events"] == predictions(tmp_path / "run").height == 240
    assert found["memory"]["users_damaged"] == found["memory"]["users"] == 0
    assert sum("had let go of" in record.message for record in caplog.records) > 3
    assert "damaged" not in caplog.text
    with to_change(tmp_path / "run") as opened:
        assert opened.store.last_cut() == Cut(tmp_path / "run").number


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_rebuild_on_servers_is_that_of_lmdb_goes_on_where_it_was_stopped_and_takes_users_in(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    monkeypatch.setattr(opened_module, "ROWS_AT_ONCE", 20)
    run, lmdb = tmp_path / "redis", tmp_path / "lmdb"
    for folder, url in ((run, servers.cluster().url()), (lmdb, "lmdb://memory")):
        commands.train(run_over(world, memory={"url": url}), folder)
    before = remembered(run)
    assert before == remembered(lmdb)
    rebuild.rebuild(lmdb, quiet)

    with ended_by_append(monkeypatch, RedisStore, 2):
        rebuild.rebuild(run, quiet)
    assert remembered(run) == before
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RedisStore, "take_over", stopped)
        rebuild.rebuild(run, quiet)
    assert remembered(run) == before
    with to_read(run) as opened:
        reader = opened.store
        told = rebuild.rebuild(run, quiet)
        assert told["ranges_done_before"] > Cut(run).number  # of more ranges than there are cuts
        assert reader.serving() == "00000001" != reader.generation
        assert len(reader.holding().users) == len(before)  # who reads the other one has time to notice
        (left,) = {ms > 3_000_000 for ms in expiries(reader, reader._name + b"{*}")}
        assert left and max(expiries(reader, reader._name + b"*")) <= 3_600_000
    assert remembered(run) == remembered(lmdb) != before
    transfer.export(run, tmp_path / "all.parquet")
    for folder in (run, lmdb):
        with to_change(folder) as opened:
            opened.store.forget(opened.store.holding().users[:3])
        assert transfer.import_(folder, tmp_path / "all.parquet")["users"] == 3
    assert remembered(run) == remembered(lmdb)
    with to_change(run) as opened:
        assert set(expiries(opened.store, opened.store._every)) == {-1}
        assert opened.store.last_cut() == Cut(run).number
        users = opened.store.holding().users[:2]
        found = opened.store.read_facts(users, 1)
        none = np.zeros(2, np.int64)
        states = np.ones((2, opened.store.layout.state_bytes), np.uint8)
        rows = Rows(users, found.next, none + 1, found.facts, states, none, none + 999)
        opened.store.append(rows, Cut(run).number)  # a replay
        assert (opened.store.read_facts(users, 1).next == found.next).all()
        opened.store.append(rows, Cut(run).number + 1)
        assert (opened.store.read_facts(users, 1).next == found.next + 1).all()
        assert opened.store.last_cut() == Cut(run).number + 1
        opened.store.forget(users)
        assert not any(opened.store._ask([("EXISTS", key) for key in opened.store._keys(users, opened.store._name)]))


def expiries(store: Any, match: bytes) -> list[int]:
    """Milliseconds that keys have left; -1: for ever."""
    keys = [key for some in store._link.scan(match) for key in some if not key.endswith(b":about")]
    return list(store._ask([("PTTL", key) for key in keys]))
