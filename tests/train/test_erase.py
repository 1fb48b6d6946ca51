"""A user's erasure is complete, survives a kill at any moment, and leaves everybody else as they were."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import polars as pl
import pytest

from marm.data import erase as data_erase
from marm.data import inbox
from marm.data.stream import EventLog
from marm.data.values import hashes_of
from marm.train import erase
from marm.train import run as commands
from marm.train.follow import follow
from marm.train.run import quiet
from tests.train.dying import Death, Dies
from tests.train.feeding import counts, events_of, put, quick
from tests.train.folders import predictions, remembered
from tests.train.logs import log_frame, run_over, write_world

TRAINED, LEARNED = 120, 170
pytestmark = pytest.mark.usefixtures("no_report")


def renamed(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Users by names that stand nowhere by chance."""
    return frame.with_columns((pl.lit("zebra-of-") + pl.col(column) + pl.lit("-stripes")).alias(column))


USER, HASH = "zebra-of-u3-stripes", int(erase.users_named(["zebra-of-u3-stripes"])[0])
MARKS = {
    "id": USER.encode(),
    "hash": HASH.to_bytes(8, "little"),
    "hash, big endian": HASH.to_bytes(8, "big"),
    "hash in digits": str(HASH).encode(),
    "an event": b"zebra-event-",
}


@pytest.fixture(scope="module", params=["lmdb://memory", "arena://"])
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained, has followed, and has more in its inbox: the user is everywhere in it."""
    base = tmp_path_factory.mktemp("grown")
    log = renamed(log_frame(events=210), "user")
    world = write_world(base / "world", log[:TRAINED])
    renamed(pl.read_parquet(world / "users.parquet"), "id").write_parquet(world / "users.parquet")
    data = {"feedback_delay": "delay", "users": {"file": "users.parquet", "id": "id"}}
    out = base / "run"
    commands.train(run_over(world, memory={"url": request.param}, data=data), out)
    told = [
        {**one, "event_id": f"zebra-event-{n}"} if one["user"] == USER else one for n, one in enumerate(events_of(log))
    ]
    mine = {"kind": "outcomes", "event_id": told[log["user"].to_list().index(USER, TRAINED)]["event_id"]}
    put(
        out,
        [
            *told[TRAINED:LEARNED],
            {**told[0], "user": USER, "event_id": "zebra-event-late"},
            {**mine, "outcomes": {"click": 1}},
        ],
    )
    put(out, [{**told[LEARNED - 1], "user": USER, "item": True, "event_id": "zebra-event-unreadable"}])
    follow(out, quick(out), until_idle=0)
    put(out, told[LEARNED:])
    return out


@pytest.fixture
def run(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "run"))


def event(event_id: str, user: str) -> dict[str, Any]:
    """Something that comes later."""
    told = {"kind": "event", "event_id": event_id, "user": user, "item": 3, "at": 1_600_100_000}
    return told | {"context": {"hour": 3, "query": [0, 0, 0]}, "outcomes": {"click": 1, "watch": 1, "delay": 0}}


def found(folder: Path) -> set[tuple[str, str]]:
    """Files that hold a mark of the user, and which."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {(str(path.relative_to(folder)), name) for path in files for name, mark in MARKS.items()
            if mark in path.read_bytes()}  # fmt: skip


def test_nothing_is_left_of_an_erased_user_and_everybody_else_is_as_before(run: Path) -> None:
    before, scored = remembered(run), predictions(run)
    places = {place.split("/")[0] for place, _ in found(run)}
    assert places >= {
        "events",
        "inbox",
        "predictions.spool",
        "cuts",
        "late.ndjson",
        "rejected.ndjson",
    }
    assert HASH in before and USER in scored["user"]  # that file is compressed
    told = erase.erase(run, np.array([HASH], np.uint64), 0)
    assert told["done"] and told["events"] and told["lines"] and told["predictions"] and told["remembered_users"] == 1
    assert found(run) == set()
    after = remembered(run)
    assert after == {user: ring for user, ring in before.items() if user != HASH}
    assert predictions(run).equals(scored.filter(pl.col("user") != USER))
    # It goes on: what was waiting and what is in the inbox of others is learned, and the erased user begins anew.
    put(run, [event("again", USER)])
    result = follow(run, quick(run), until_idle=0)
    assert result["counts"]["events"] == counts(run)["events"] > LEARNED - TRAINED
    assert result["counts"]["rejected"] == 1
    log = EventLog(run / "events")
    assert log.read(len(log) - 1, len(log)).user.tolist() == [HASH]


def test_users_that_the_folder_does_not_know_are_not_counted_as_erased(run: Path) -> None:
    put(run, [event("waiting", "only in the inbox")])
    users = erase.users_named([USER, "only in the inbox", "nobody"])
    assert erase.erase(run, users, 0)["users"] == 2
    again = erase.erase(run, users, 0)
    assert again == {
        "done": True, "users": 0, "events": 0, "lines": 0, "predictions": 0, "remembered_users": 0
    }  # fmt: skip


def test_an_erasure_that_was_killed_is_done_at_the_next_start(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: Callable[[int, int], int]
) -> None:
    users, death = np.array([HASH], np.uint64), Death(monkeypatch)
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    erase.erase(whole, users, 0)
    total, wanted = death.calls, remembered(whole)
    for number in np.unique(np.linspace(1, total, soak(4, 60)).astype(int)).tolist():
        broken = Path(shutil.copytree(run, tmp_path / f"broken{number}"))
        death.arm(number)
        with pytest.raises(Dies):
            erase.erase(broken, users, 0)
        death.arm(-1)
        if not erase.pending(broken):  # the end came before it was written down, or after it was done
            erase.ask(broken, users)
        commands.resume(broken)
        assert found(broken) == set(), number
        assert remembered(broken) == wanted, number


def test_outcomes_in_another_file_than_their_event_are_erased_whatever_was_reached_before(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = np.array([HASH], np.uint64)
    monkeypatch.setattr(inbox, "ROTATE_AT", 1)
    put(run, [event("zebra-event-apart", USER)])
    put(run, [{"kind": "outcomes", "event_id": "zebra-event-apart", "outcomes": {"click": 1}}])
    write_over, files = data_erase._erase_lines, list[Path]()

    def until_the_last(path: Path, *told: Any) -> int:
        files.append(path)
        if b"zebra-event-apart" in (text := path.read_bytes()) and USER.encode() not in text:
            raise Dies
        return write_over(path, *told)

    monkeypatch.setattr(data_erase, "_erase_lines", until_the_last)
    with pytest.raises(Dies):
        erase.erase(run, users, 0)
    assert len(files) > 1
    monkeypatch.setattr(data_erase, "_erase_lines", write_over)
    assert erase.erase(run, users, 0)["done"]
    assert found(run) == set()


def test_an_id_told_as_a_number_is_erased_as_it_was_taken(tmp_path: Path) -> None:
    names = [1e18, 2.0**60, 7.0, 1.5, True]
    put(tmp_path, [{"kind": "event", "event_id": f"e{n}", "user": name} for n, name in enumerate(names)])
    assert [data_erase.erase_told(tmp_path, hashes_of([name]), set()) for name in names] == [1] * 5


def wait_for_events(folder: Path, more_than: int, thread: Thread) -> None:
    deadline = time.monotonic() + 120
    while counts(folder)["events"] <= more_than:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_follows_takes_an_erasure_up_and_goes_on(run: Path) -> None:
    end, told, config, before = Event(), list[Any](), quick(run), counts(run)["events"]
    thread = Thread(target=lambda: told.append(follow(run, config, progress=quiet, stop=end.is_set)))
    thread.start()
    try:
        wait_for_events(run, before, thread)
        assert erase.erase(run, np.array([HASH], np.uint64), 120)["done"]
        before = counts(run)["events"]
        put(run, [event("more", "somebody else")])
        wait_for_events(run, before, thread)
    finally:
        end.set()
        thread.join()
    assert found(run) == set()
    assert told[0]["cut"] and HASH not in remembered(run)


def test_users_not_seen_for_long_are_found_by_the_streams_time(run: Path) -> None:
    log = EventLog(run / "events")
    events = log.read(0, len(log))
    last = {user: int(events.time[events.user == user].max()) for user in set(events.user.tolist())}
    for seconds in (0.0, 300.0, 1000.0, 1e9):
        wanted = {user for user, time in last.items() if time < log.manifest.last_time - seconds * 1e6}
        assert set(erase.users_unseen(run, seconds).tolist()) == wanted
