"""A server whose run's memory is changed under it by hand takes over what serves now, and forgets who was erased."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from marm.data.ids import hash_texts
from tests.server.running import Running

LATER = 1_600_100_000


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def marm(*words: str) -> None:
    """In a process of its own: this one has the store open to read."""
    subprocess.run([sys.executable, "-m", "marm", *words], check=True, stdout=subprocess.DEVNULL)


def rank(server: Running, user: str) -> dict[str, Any]:
    return server.post("/v1/rank", {"user": user, "candidates": [1, 2, 3], "at": LATER})


def test_a_rebuilt_store_is_swapped_in(folder: Path, start: Callable[..., Running]) -> None:
    server = start(folder, "serve.look=0.05")
    before = rank(server, "u3")
    marm("memory", "rebuild", str(folder))
    wait_for(lambda: server.server.served.guard.generation == "00000001")
    after = rank(server, "u3")
    assert after != before and "degraded" not in str(after.get("degraded") or "")
    server.stop()
    again = start(folder)
    assert rank(again, "u3")["items"] == after["items"]


def found(server: Running, part: str) -> list[dict[str, Any]]:
    """Users whose id holds it, as the inspector finds them."""
    return server.client.get("/v1/inspect/users", params={"search": part}).json()["users"]  # type: ignore[no-any-return]


def test_an_erased_user_is_forgotten_by_a_server_that_runs(folder: Path, start: Callable[..., Running]) -> None:
    user, other = hash_texts(["u3", "u4"]).tolist()
    events = [
        {"event_id": f"a{n}", "user": name, "item": n, "at": LATER + n} for n, name in enumerate(("u3", "u4", "u3"))
    ]
    server = start(folder, "serve.look=0.05")
    server.post("/v1/events", {"events": events}, 202)
    for name in ("u3", "u4"):
        rank(server, name)
    inside = server.server
    assert (
        inside.tails.of_user(user)
        and inside.served.scorer.engine.memory.hot.map.find(np.array([user], np.uint64))[0] >= 0
    )
    assert [one["user"] for one in found(server, "u3")] == ["u3"]
    marm("memory", "flush", str(folder), "u3")
    wait_for(lambda: inside.erased == 1)
    memory = inside.served.scorer.engine.memory
    assert not inside.tails.of_user(user) and inside.tails.of_user(other)
    assert memory.hot.map.find(np.array([user], np.uint64))[0] < 0
    assert user not in memory.store.holding().users.tolist()
    assert user not in inside._at_hand._users and user not in [held for held, _ in inside.feedback._ids.values()]
    assert set(inside.feedback._ids) == {"a1"}
    assert rank(server, "u3")["items"] != rank(server, "u4")["items"]
    assert not found(server, "u3") and [one["user"] for one in found(server, "u4")] == ["u4"]
    # What comes anew of the user is taken as a newcomer's.
    server.post("/v1/events", {"events": [{**events[0], "event_id": "b"}]}, 202)
    assert len(inside.tails.of_user(user)) == 1


def test_damaged_rows_are_not_served_and_counted(folder: Path, start: Callable[..., Running]) -> None:
    key = hash_texts(["u3"]).astype(">u8").tobytes() + bytes([1]) + bytes(4)
    with lmdb.open(str(folder / "memory" / "00000000"), max_dbs=3) as env:
        rows = env.open_db(b"rows")
        with env.begin(write=True, db=rows) as txn:
            value = txn.get(key)
            txn.put(key, value[:9] + bytes([value[9] ^ 1]) + value[10:])
    server = start(folder, "serve.look=0.05")
    damaged, newcomer = rank(server, "u3"), rank(server, "somebody new")
    assert len(damaged["items"]) == len(newcomer["items"]) == 3
    wait_for(lambda: "marm_memory_damaged_users 1.0" in server.client.get("/metrics").text)
