"""Under mixed load, while cuts change, the store fails, and processes are killed: no answer fails, no event is lost."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from marm.data import inbox
from marm.data.place import Position
from marm.data.stream import EventLog
from marm.train.cut import Cut
from tests.server.processes import Client, Noted, begin, children, ended, resident, together
from tests.train.feeding import aside, event_ids
from tests.train.folders import remembered

SECONDS, SOAK_SECONDS = 12, 600
USERS = [f"u{number}" for number in range(12)]
ITEMS = list(range(20))
MOST_GROWTH = 1.25, 48 * 1024**2
"""By what a process may grow from the first quarter of a soak to its end: a factor, and bytes."""


def follower(folder: Path, cut_every: float) -> list[str]:
    """`marm follow`, quick to take what it hears."""
    sets = [word for one in ("wait=0.4", "gather=0.3") for word in ("--set", f"follow.{one}")]
    return ["follow", str(folder), "--quiet", "--cut-every", str(cut_every), *sets]


@contextmanager
def away(store: Path) -> Iterator[None]:
    """The store's folder is gone for a while."""
    gone = store.with_name("gone")
    store.rename(gone)
    try:
        yield
    finally:
        gone.rename(store)


def told_ids(folder: Path) -> list[str]:
    """Ids of events in the inbox's files, as they lie on the disk."""
    records: list[dict] = []
    place = Position()
    while True:
        lines, place = inbox.read(folder / "inbox", place)
        if not lines:
            return [record["event_id"] for record in records if record["kind"] == "event"]
        records += map(json.loads, lines)


def check_nothing_lost(folder: Path, noted: Noted, in_time: float = 0.5) -> None:
    """Every event answered with 202 is in the log, and once in the stream and in memory, with its outcome.

    ``in_time``: more than this share of outcomes came before their event was learned from.
    """
    assert sorted(told_ids(folder)) == sorted(noted.accepted)
    assert sorted(event_ids(folder)) == sorted(noted.accepted)
    log, cut = EventLog(folder / "events"), Cut(folder)
    assert cut.state["position"] == len(log) == log.manifest.prepared + len(noted.accepted)
    waiting = len(cut.state["waiting"]) - sum(cut.state["waiting_remembered"])
    assert sum(rings[0] for rings in remembered(folder).values()) == len(log) - waiting
    counts = log.manifest.growth.counts
    assert set(counts) <= {"events", "after"}, counts
    after = {json.loads(line["record"])["event_id"] for line in aside(folder, "late.ndjson")}
    labels = log.read(log.manifest.prepared, len(log)).labels[:, 0].tolist()
    joined = {name: label for name, label in zip(event_ids(folder), labels, strict=True) if name not in after}
    assert joined == {name: noted.accepted[name] for name in joined} and len(joined) > len(noted.accepted) * in_time


def check_answers(noted: Noted) -> None:
    """Only the faults that are defined, and more than a few answers of each kind."""
    undefined = [fault for fault in noted.faults if " 503: " not in fault or "too many requests wait" not in fault]
    assert not undefined, undefined[:5]
    assert {status for _, status in noted.answers} <= {200, 202, 503}, noted.answers
    for path, status in (("/v1/rank", 200), ("/v1/recommend", 200), ("/v1/events", 202), ("/v1/items", 200)):
        assert noted.answers[path, status] > 0, noted.answers


def test_load_while_cuts_change_the_store_fails_twice_and_the_follower_is_killed(
    folder: Path, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    seconds, errors = soak(SECONDS, SOAK_SECONDS), tmp_path / "errors.log"
    words, number = follower(folder, 1.0 if seconds < 60 else 30.0), Cut(folder).number
    server = begin("serve", folder, "--port", 0, "--quiet", "--set", "serve.look=0.1", faulty=True, errors=errors)
    follow = begin(*words, errors=errors)
    try:
        address = server.stdout.readline().strip()
        assert address, errors.read_text()
        clients = [Client(f"client {number}", address, USERS, ITEMS) for number in range(3)]
        begun = time.monotonic()
        for client in clients:
            client.start()
        faults, sizes = [], {}
        for quarter in range(4):
            time.sleep(max(0.0, begun + seconds * (quarter + 0.5) / 4 - time.monotonic()))
            if quarter == 0:
                sizes = {server.pid: resident(server.pid)}
                # It must have come up before the store goes away: a follower does not start without its store.
                until(lambda number=number: Cut(folder).number > number)
            if quarter in (1, 3):
                with away(folder / "memory"):
                    faults.append(time.monotonic())
                    time.sleep(1.5)
                faults.append(time.monotonic())
            if quarter == 2:
                assert ended(follow, signal.SIGKILL) == -signal.SIGKILL
                number, follow = Cut(folder).number, begin(*words, errors=errors)
                # As above, before the store goes away once more.
                until(lambda number=number: Cut(folder).number > number)
        time.sleep(max(1.5, begun + seconds - time.monotonic()))
        noted = together(clients)
        grown = {pid: (size, resident(pid)) for pid, size in sizes.items()}
        ready = httpx.get(f"{address}/readyz", timeout=30)
    finally:
        codes = ended(server), ended(follow)
    # A follower that was only just started has nothing to end in order.
    assert codes[0] == 0 and codes[1] in (0, -signal.SIGTERM), (codes, errors.read_text()[-3000:])
    # What came last; it waits no longer than told.
    assert ended(begin(*words, "--until-idle", 2, errors=errors), 0) == 0, errors.read_text()[-3000:]
    print(dict(noted.answers), sorted(noted.cuts), {p: [s >> 20 for s in g] for p, g in grown.items()})
    check_answers(noted)
    check_nothing_lost(folder, noted)
    assert ready.status_code == 200, ready.text
    assert len(noted.cuts) > 2
    for low, high in zip(faults[::2], faults[1::2], strict=True):
        assert any(low < at < high + 1 for at in noted.degraded)
        assert any(at > high for at in noted.whole)
    if seconds == SOAK_SECONDS:
        factor, more = MOST_GROWTH
        assert all(last <= first * factor + more for first, last in grown.values()), grown


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(there: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something; it must come."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def answers(address: str) -> bool:
    """Whether a server is there."""
    try:
        return httpx.get(f"{address}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_up_starts_again_what_is_killed_and_events_survive(folder: Path, tmp_path: Path) -> None:
    run = (folder / "run.toml").read_text()
    for name, old, new in (("wait", "30.0", "0.3"), ("gather", "30.0", "0.3"), ("cut_every", "60.0", "0.5")):
        assert f"{name} = {old}" in run
        run = run.replace(f"{name} = {old}", f"{name} = {new}")
    (folder / "run.toml").write_text(run)
    errors, port = tmp_path / "errors.log", free_port()
    address = f"http://127.0.0.1:{port}"
    parent = begin("up", folder, "--port", port, errors=errors)
    accepted: dict[str, int] = {}

    def tell() -> None:
        events = [
            {"event_id": f"up {len(accepted) + n}", "user": "u1", "item": n, "outcomes": {"click": 1}} for n in range(5)
        ]
        assert httpx.post(f"{address}/v1/events", json={"events": events}, timeout=30).status_code == 202
        accepted.update((event["event_id"], 1) for event in events)

    try:
        until(lambda: answers(address))
        before = children(parent.pid)
        for name in ("serve", "follow"):
            tell()
            os.kill(before[name], signal.SIGKILL)
            until(lambda name=name: children(parent.pid).get(name, before[name]) != before[name])
            until(lambda: answers(address))
            tell()
        until(lambda: Cut(folder).state["position"] == EventLog(folder / "events").manifest.prepared + len(accepted))
    finally:
        code = ended(parent)
    assert code == 0, errors.read_text()[-3000:]
    said = errors.read_text()
    assert "marm up: marm serve ended (-9)" in said and "marm up: marm follow ended (-9)" in said
    check_nothing_lost(folder, Noted(accepted=accepted))
