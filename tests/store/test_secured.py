"""Redis by TLS and for a user who may do what must be and no more: one server, and a cluster."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from marm.errors import StoreError
from marm.store import open_store
from marm.store.redis import RedisStore
from marm.store.redis_slots import slot_of
from tests.server.certificates import authority, signed
from tests.store import servers
from tests.store.other_process import USERS, check_whole, given_at
from tests.store.rings import LAYOUT, rows_of
from tests.store.test_redis import ALL, check_moves, opened

UNTRUSTED = r"^{}: shows a certificate that is not trusted \(.*{}.*\): name its authority's in SSL_CERT_FILE, or .*$"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> servers.Cluster:
    return servers.enter_secured(monkeypatch)


@pytest.fixture
def stranger() -> Iterator[Path]:
    """The certificate of an authority that signed none of the servers'."""
    with tempfile.TemporaryDirectory() as folder:
        yield authority(Path(folder))


@pytest.fixture
def single() -> Iterator[servers.Server]:
    server = servers.Server(access=servers.Access.made())
    yield server
    server.end()


def test_one_server_is_trusted_by_its_certificate_and_trusts_a_user_from_the_environment(
    single: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, access = single.url(), single.access
    assert access
    with pytest.raises(StoreError, match=UNTRUSTED.format(url, "self-signed certificate in certificate chain")):
        opened(url)
    monkeypatch.setenv("SSL_CERT_FILE", access.environment["SSL_CERT_FILE"])
    with pytest.raises(StoreError, match=r"refuses this user .*set MARM_REDIS_USERNAME and MARM_REDIS_PASSWORD"):
        opened(url)
    access.enter(monkeypatch)
    store = opened(url)
    store.append(rows_of(given_at(0)), 0)
    check_whole(store, 0)
    store.close()
    with pytest.raises(StoreError, match="refuses this user"):
        opened(single.url("theirs"))
    single.kill()
    signed(access.folder, of="DNS:elsewhere")
    single.start()
    with pytest.raises(StoreError, match=UNTRUSTED.format(url, "IP address mismatch")):
        opened(url)


def test_every_connection_to_a_cluster_asks_who_signed(
    cluster: servers.Cluster, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.url()
    store = opened(url)
    store.append(rows_of(given_at(0)), 0)
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger))
    store.append(rows_of(given_at(1)), 1)  # by connections that were trusted
    for node in cluster.nodes:
        node.client().client_kill_filter(_type="normal", skipme=True)
    untrusted = UNTRUSTED.format(url, "self-signed certificate in certificate chain")
    for ask in (lambda: store.append(rows_of(given_at(2)), 2), lambda: opened(url), lambda: opened(url, readonly=True)):
        with pytest.raises(StoreError, match=untrusted):
            ask()
    store.close()


def test_a_slot_that_moves_is_followed_by_tls(cluster: servers.Cluster) -> None:
    check_moves(cluster)


def test_a_promoted_primary_is_found_by_tls(cluster: servers.Cluster) -> None:
    url = cluster.url()
    store, reader = opened(url), opened(url, readonly=True)
    store.append(rows_of(given_at(0)), 0)
    check_whole(reader, 0)
    before = {node.port for node in cluster.primaries()}
    with cluster.failing("killed", 1):
        for cut in (1, 2):
            store.append(rows_of(given_at(cut)), cut)
        assert {node.port for node in cluster.primaries()} != before
        check_whole(store, 2)
    check_whole(reader, 2)
    store.close()
    reader.close()


def test_the_user_needs_all_that_it_may_do_and_is_refused_nothing(cluster: servers.Cluster) -> None:
    for node in cluster.nodes:
        node.ask("CONFIG", "RESETSTAT")
        node.ask("ACL", "LOG", "RESET")
    store = do_everything(cluster)
    done = {name for node in cluster.nodes for name in node.client().info("commandstats")}
    assert {word.removeprefix("+") for word in servers.needed()} <= {name.removeprefix("cmdstat_") for name in done}
    assert [node.ask("ACL", "LOG") for node in cluster.nodes] == [[]] * len(cluster.nodes)
    access, (host, port) = cluster.nodes[0].access, store.address.seeds[0]
    assert access
    with redis.Redis(host, port, **access.by_admin | {"username": "marm", "password": access.secret}) as user:
        for words in ("CLUSTER FAILOVER", "CLUSTER RESET", "CLUSTER NODES", "FLUSHALL", "KEYS *", "CONFIG GET *",
                      "SCRIPT FLUSH", "EVAL 1 0", "ACL LIST", "REPLICAOF NO ONE", "GET other"):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*words.split())
    store.close()


@pytest.mark.parametrize("word", ["hset", "wait", "cluster|slots"])
def test_what_the_user_may_not_do_is_named_at_once(cluster: servers.Cluster, word: str) -> None:
    """In a script, in a round that has rows in it, and in what redis-py does by itself."""

    def allow(sign: str) -> None:
        for node in cluster.nodes:
            node.client().acl_setuser("marm", commands=[sign + word], enabled=True)

    allow("-")
    try:
        with pytest.raises(
            StoreError, match=rf"refuses this user \(.*({re.escape(word)}|script).*\): set MARM_REDIS_USERNAME"
        ):
            opened(cluster.url()).append(rows_of(given_at(0)), 0)
    finally:
        allow("+")


def do_everything(cluster: servers.Cluster) -> RedisStore:
    """Each thing that a trainer, a server or an operator does to a store."""
    url = cluster.url()
    store = open_store(url, LAYOUT, Path(), ttl=9000.0)
    assert isinstance(store, RedisStore)
    store.append(rows_of([(user, 0, [0] * 300, 0, 0) for user in USERS]), 0)
    reader = opened(url, readonly=True)
    with cluster.moving(slot_of(store._keys(ALL[:1])[0])):
        store.append(rows_of([(user, 300, [1] * 90, 0, 1) for user in USERS]), 1)
        assert reader.read_facts(ALL, 5).next.tolist() == [390] * len(USERS)
    assert reader.read_states(ALL, np.full(len(ALL), 385), np.full(len(ALL), 5))[1].all()
    assert reader.stats().users == len(USERS) and reader.space().used
    store.forget(ALL[1:3])
    fresh = store.beside()
    fresh.note = "half"
    fresh.append(rows_of(given_at(0)), 0)
    fresh.take_over(1)
    assert reader.serving() != reader.generation
    for one in (store, reader):
        one.close()
    kept = opened(url)  # which keeps for ever
    kept.append(rows_of(given_at(1)), 2)
    assert kept.last_cut() == 2
    return kept
