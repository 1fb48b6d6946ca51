"""Failures of the operations guide that no other test rehearses: each is seen as the guide says, and mended as it says."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import polars as pl
import pytest

from marm.data import feedback, topic
from marm.errors import DiskError, FolderError, StoreError
from marm.train import follow as following
from marm.train import run as commands
from marm.train.cut import Cut
from marm.train.follow import PULSE, follow
from marm.train.run import run_of
from tests.deploy.test_store import SECRET, Shipped
from tests.kafka.conftest import mock, trained
from tests.kafka.topics import Cluster, after_training, as_messages, at_once
from tests.server.balancer import Balancer
from tests.server.processes import begin, ended
from tests.server.running import Running
from tests.store.servers import wait_until
from tests.train.feeding import assert_same_learning, copy_of, event_ids, events_of, put, quick
from tests.train.logs import log_frame, run_over, write_world
from tests.train.test_disk import files_of_at_most

__all__ = ["mock", "trained"]
Start = Callable[..., Running]
RANK = {"user": "u1", "candidates": [1, 2, 3]}


def later_events(count: int = 60) -> list[dict]:
    """Events after all that was trained on."""
    records = list(events_of(log_frame(events=count, seed=3)))
    return [{**record, "at": record["at"] + 100_000} for record in records]


def learn(folder: Path) -> None:
    """What `marm follow` does until nothing comes."""
    follow(folder, quick(folder), until_idle=0)


def measured_on(log: Path, folder: Path) -> dict[str, float]:
    """Figures of clicks by `marm evaluate`."""
    run = run_of(folder)
    told = commands.evaluate(folder, run.model_copy(update={"data": run.data.model_copy(update={"log": str(log)})}))
    return dict(told["tasks"]["click"])


def test_a_full_store_ends_the_trainer_in_one_line_and_with_more_memory_nothing_is_lost(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARM_REDIS_USERNAME", "marm")
    monkeypatch.setenv("MARM_REDIS_PASSWORD", SECRET)
    store, events = Shipped(tmp_path), later_events()
    try:
        world = write_world(tmp_path / "world", log_frame(events=150))
        run = run_over(world, memory={"url": f"redis://127.0.0.1:{store.port}/shop"})
        commands.train(run, tmp_path / "run", page=False)
        put(tmp_path / "run", events)
        store.end()
        store.start("1b")
        with pytest.raises(StoreError, match=r"^redis://.*/shop: has no memory left .*raise its maxmemory"):
            learn(tmp_path / "run")
        server = start(tmp_path / "run")
        assert server.post("/v1/rank", RANK)["degraded"] is False
        server.stop()
        store.end()
        store.start("1gb")
        learn(tmp_path / "run")
        assert sorted(event_ids(tmp_path / "run")) == sorted(event["event_id"] for event in events)
    finally:
        store.end()


def test_a_damaged_cut_is_one_line_and_from_a_backup_with_the_inbox_learning_ends_the_same(
    folder: Path, tmp_path: Path
) -> None:
    backup, whole, errors = tmp_path / "backup", tmp_path / "whole", tmp_path / "errors.log"
    put(folder, later_events())
    shutil.copytree(folder, backup)
    put(
        folder,
        [{**event, "event_id": f"more {n}", "at": event["at"] + 50_000} for n, event in enumerate(later_events())],
    )
    server = begin("serve", folder, "--port", 0, "--quiet", "--set", "serve.look=0.05", errors=errors)
    try:
        address, before = server.stdout.readline().strip(), Cut(folder).number
        assert address, errors.read_text()
        server.send_signal(signal.SIGSTOP)  # it looks again once the new cut has lost bytes
        learn(folder)
        shutil.copytree(folder, whole)
        table = Cut(folder).path / "table.safetensors"
        table.write_bytes(table.read_bytes()[:-9])
        server.send_signal(signal.SIGCONT)
        wait_until(lambda: f"cannot open the newest cut: {table}: cannot be read (" in errors.read_text())
        answer = httpx.post(f"{address}/v1/rank", json=RANK, timeout=30).json()
        assert (answer["trace"]["cut"], answer["degraded"]) == (before, False)
        failed = re.search(r"^marm_failed_swaps_total (\S+)", httpx.get(f"{address}/metrics", timeout=30).text, re.M)
        assert failed and float(failed[1]) > 0
    finally:
        assert ended(server) == 0
    with pytest.raises(FolderError, match=rf"^{table}: cannot be read \(.*from a backup, or train anew$"):
        learn(folder)
    folder.rename(tmp_path / "aside")
    shutil.copytree(backup, folder)
    shutil.rmtree(folder / "inbox")
    shutil.copytree(tmp_path / "aside" / "inbox", folder / "inbox")
    learn(folder)
    assert_same_learning(folder, whole)


def test_a_full_disk_refuses_feedback_ends_the_trainer_and_once_there_is_space_all_goes_on(
    folder: Path, start: Start
) -> None:
    waiting = later_events()
    put(folder, waiting)
    told = {"events": [{"event_id": f"told {n}", "user": f"u{n}", "item": n} for n in range(9)]}
    server = start(folder)
    wanted = server.post("/v1/rank", RANK)["items"]
    with files_of_at_most((folder / "inbox" / "00000001.ndjson").stat().st_size + 9):
        assert "free space" in server.post("/v1/events", told, 503)["error"]
        assert server.post("/v1/rank", RANK)["items"] == wanted
        server.stop()
        with pytest.raises(DiskError, match="free space"):
            learn(folder)
    server = start(folder)
    assert server.post("/v1/events", told, 202)["accepted"] == 9
    server.stop()
    learn(folder)
    assert sorted(event_ids(folder)) == sorted(one["event_id"] for one in [*waiting, *told["events"]])


def refused(server: Running) -> float:
    """What the alarm `MarmBusy` looks at."""
    told = server.client.get("/metrics").text
    return float(re.search(r"^marm_busy_total (\S+)", told, re.M)[1])  # type: ignore[index]


def test_a_server_with_too_many_requests_refuses_some_and_none_once_a_second_one_takes_half(
    folder: Path, start: Start
) -> None:
    waits, asked = 3, {"user": "u1", "candidates": list(range(400))}
    limits = ("serve.together=1", f"serve.queue={waits}", "serve.time_budget=60")
    first, second = start(folder, *limits), start(folder, *limits)
    for one in (first, second):
        one.post("/v1/rank", asked)
    with Balancer([first.address]) as balancer, ThreadPoolExecutor(2 * waits) as many, httpx.Client(timeout=60) as http:

        def answers() -> list[httpx.Response]:
            """Of as many requests at once as two servers let wait."""
            return list(many.map(lambda _: http.post(f"{balancer.address}/v1/rank", json=asked), range(2 * waits)))

        overloaded: list[httpx.Response] = []
        wait_until(lambda: overloaded.extend(answers()) or any(one.status_code == 503 for one in overloaded))
        busy = [one for one in overloaded if one.status_code != 200]
        assert all(one.status_code == 503 and "too many requests wait" in one.text for one in busy)
        assert refused(first) == len(busy) < len(overloaded)
        balancer.addresses.append(second.address)
        for _ in range(5):
            assert {one.status_code for one in answers()} == {200}
        assert (refused(first), refused(second)) == (len(busy), 0)


def test_messages_that_wait_are_seen_as_lag_and_are_none_once_they_are_read(
    mock: Cluster, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, name = copy_of(trained, tmp_path / "run"), mock.name()
    mock.partitions(name)
    mock.put(name, as_messages(after_training(0, 40)), ["one lane"] * 40)
    monkeypatch.setattr(feedback, "MOST_HELD", 5)
    monkeypatch.setattr(topic, "AT_ONCE", 5)
    monkeypatch.setattr(following, "_PULSE_EVERY", 0.0)
    lags: list[int] = []

    def seen() -> bool:
        if (run / PULSE).exists():
            lags.append(json.loads((run / PULSE).read_text())["lag"])
        return False

    follow(run, at_once(run), mock.url(name), until_idle=0.5, stop=seen)
    assert max(lags) > 0 and lags[-1] == 0 and len(event_ids(run)) == 40


def test_a_new_model_is_rolled_out_beside_the_old_one_and_back(folder: Path, tmp_path: Path, start: Start) -> None:
    world = write_world(tmp_path / "world")
    log_frame(seed=7).with_columns(time=pl.col("time") + 50_000).write_parquet(tmp_path / "later.parquet")
    commands.train(run_over(world, memory={"url": "lmdb://memory"}, train={"seed": 1}), tmp_path / "new", page=False)
    measured = [measured_on(tmp_path / "later.parquet", one) for one in (folder, tmp_path / "new")]
    assert all(0 < one["logloss"] < 2 for one in measured) and measured[0] != measured[1]
    old, new, answers = start(folder), start(tmp_path / "new"), []
    with Balancer([old.address]) as balancer:
        for address in (old.address, new.address, old.address):
            balancer.addresses = [address]
            asked = httpx.post(f"{balancer.address}/v1/rank", json=RANK, timeout=30)
            assert asked.status_code == 200
            answers.append(asked.json()["items"])
        old.stop()
        # The old one's trainer was never stopped.
        put(folder, later_events())
        learn(folder)
        again = start(folder)
        balancer.addresses = [again.address]
        assert (
            httpx.post(f"{balancer.address}/v1/rank", json=RANK, timeout=30).json()["trace"]["cut"]
            == Cut(folder).number
        )
    assert answers[0] == answers[2] != answers[1]
