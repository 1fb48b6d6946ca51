"""A primary on one side of a broken network with whoever writes, its replica and all others on the other side."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from marm.store import Rows, Store, open_store
from marm.store import redis as redis_store
from marm.store.redis import RedisStore
from marm.store.redis_link import Patience
from marm.store.redis_slots import slot_of
from tests.store import servers
from tests.store.rings import LAYOUT, Given, PlainStore, assert_same, rows_of
from tests.store.sides import HOSTS, LEFT, RIGHT, Sides

_SOON = ("--cluster-node-timeout", "500", "--protected-mode", "no")


@contextmanager
def parted(sides: Sides) -> Iterator[servers.Cluster]:
    """A cluster whose first node, a primary, lies on the left, and all others, its replica too, on the right."""
    nodes = []
    for side in (LEFT, *[RIGHT] * 5):
        with sides.on(side):
            nodes.append(servers.Server(*servers.CLUSTERED, *_SOON, host=HOSTS[side]))
    with sides.on(LEFT):
        made = servers.Cluster(nodes)
        assert nodes[0] in made.primaries()
    yield made
    made.end()


def users_on(node: servers.Server, store: RedisStore) -> list[int]:
    """A few users whose slots this primary has."""
    own = [(low, high) for low, high, primary, *_ in node.client().execute_command("CLUSTER SLOTS")
           if primary[1] == node.port]  # fmt: skip
    keys = store._keys(np.arange(100, dtype=np.uint64))
    return [user for user, key in enumerate(keys) if any(low <= slot_of(key) <= high for low, high in own)][:5]


def test_what_only_a_cut_off_primary_took_is_no_cut_and_comes_back_to_the_promoted_one(
    soak: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for replica in ("known to be gone", "silent")[: soak(1, 2)]:
        with closing(Sides()) as sides, parted(sides) as cluster, monkeypatch.context() as patch:
            check_parted(replica, sides, cluster, patch)


def check_parted(replica: str, sides: Sides, cluster: servers.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    left, name = cluster.nodes[0], servers.fresh_name()
    monkeypatch.setattr(redis_store, "TRAINING", Patience(timeout=0.5, seconds=60.0))
    write, plain = RedisStore._write, PlainStore()

    def cut_off(self: RedisStore, rows: Rows, cut: int) -> None:
        """The network breaks once an append has begun."""
        monkeypatch.setattr(RedisStore, "_write", write)
        sides.pull()
        if replica != "silent":  # as a network does that refuses instead: then nobody is waited for
            left.client().execute_command("CLIENT", "KILL", "TYPE", "replica")
        write(self, rows, cut)

    with sides.on(LEFT):
        store = opened(f"redis://{left.place}/{name}")
        users = users_on(left, store)
        store.append(rows_of(given_at(users, 0)), 0)
        plain.append(given_at(users, 0), 0)
        before = written(left)
        monkeypatch.setattr(RedisStore, "_write", cut_off)

    def append() -> None:
        with sides.on(LEFT):
            store.append(rows_of(given_at(users, 1)), 1)

    writing = Thread(target=append)
    writing.start()
    with sides.on(LEFT):
        servers.wait_until(lambda: written(left) > before)  # the old primary still takes writes
    with sides.on(RIGHT):
        right = [node for node in cluster.nodes if node is not left]
        servers.wait_until(lambda: sum(node.client().info("replication")["role"] == "master" for node in right) == 3)
        servers.wait_until(lambda: right[0].client().cluster("info")["cluster_state"] == "ok")
        reader = opened(f"redis://{right[0].place}/{name}")
        assert_same(reader, plain, users)
    assert writing.is_alive()
    sides.plug()
    writing.join(60)
    assert not writing.is_alive()
    plain.append(given_at(users, 1), 1)
    with sides.on(RIGHT):
        servers.wait_until(cluster.is_whole)
        assert left.client().info("replication")["role"] == "slave"
        assert_same(reader, plain, users)
        reader.close()
    store.close()


def written(node: servers.Server) -> int:
    return int(node.client().info("commandstats")["cmdstat_hset"]["calls"])


def opened(url: str) -> RedisStore:
    store: Store = open_store(url, LAYOUT, Path())
    assert isinstance(store, RedisStore)
    return store


def given_at(users: list[int], cut: int) -> list[Given]:
    return [(user, 3 * cut, [cut] * 3, 0, cut) for user in users]
