"""Servers that acknowledged cuts and came back without them: what the folder keeps is written again, and not more."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from marm.config import RunConfig
from marm.config.memory import DAY
from marm.errors import FolderError, StoreError
from marm.store import Rows, Store, redis
from marm.store.redis_link import Patience
from marm.train import applied, trainer
from marm.train import run as commands
from marm.train.cut import Cut
from marm.train.opened import to_change
from tests.store import servers
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


def test_memory_on_servers_is_not_made_anew_beside_itself(world: Path, tmp_path: Path, no_report: None) -> None:
    commands.train(run_over(world, memory={"url": servers.single().url()}), tmp_path / "run")
    with to_change(tmp_path / "run") as opened, pytest.raises(FolderError, match="train into a new store"):
        opened.beside()
