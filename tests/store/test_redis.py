"""What only servers can do: fail half way, be promoted, move slots, refuse, lose what they acknowledged."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.errors import FolderError, LayoutError, SettingError, StoreError
from marm.store import ArenaStore, Rows, Store, open_store
from marm.store import redis as redis_store
from marm.store.redis import RedisStore
from marm.store.redis_link import Link
from marm.store.redis_slots import slot_of
from tests.store import servers
from tests.store.other_process import ROWS, USERS, check_whole, given_at, plain_at
from tests.store.rings import LAYOUT, PlainStore, assert_same, facts_row, rows_of

ALL = np.array(USERS, np.uint64)


def opened(url: str, readonly: bool = False) -> RedisStore:
    store = open_store(url, LAYOUT, Path(), readonly)
    assert isinstance(store, RedisStore)
    return store


@pytest.fixture(params=["single", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    return getattr(servers, request.param)().url()


@pytest.fixture
def own() -> Iterator[servers.Server]:
    """A server that a test may kill."""
    server = servers.Server()
    yield server
    server.end()


def test_an_append_stopped_anywhere_shows_the_cut_before_and_is_done_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reader = opened(url), opened(url, readonly=True)
    monkeypatch.setattr(redis_store, "AT_ONCE", 100)  # users by themselves, so that there is a way between
    real, left = Link.ask, 0

    def ask(self: Link, *args: object, **named: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            raise StoreError("stopped")
        return real(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "ask", ask)
    store.append(rows_of(given_at(0)), 0)
    for cut, stop in enumerate((3, 9, 24), 1):
        rows = replace(rows_of([*given_at(cut), (99, 0, [cut], 0, cut)]), forgotten=np.array([99], np.uint64))
        left = stop
        with pytest.raises(StoreError, match="stopped"):
            store.append(rows, cut)
        assert reader.last_cut() == cut - 1
        held = reader.holding()
        assert set(held.next[np.isin(held.users, ALL)].tolist()) == {ROWS * cut}
        store.append(rows, cut)
    plain = plain_at(cut)
    plain.append([(99, 0, [cut], 0, cut)], cut + 1)
    plain.cut = cut
    assert_same(reader, plain, [*USERS, 99])
    store.close()
    reader.close()


def test_a_reader_beside_a_writer_sees_each_user_before_or_after_and_killed_it_goes_on(url: str) -> None:
    reader: Store | None = None
    command = [sys.executable, "-m", "tests.store.other_process", "write", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "0\n"
        reader, seen = opened(url, readonly=True), set()
        while len(seen) < 4:
            facts = reader.read_facts(ALL, 5)
            wanted = [facts_row(u, p, p // ROWS) for u, n in zip(USERS, facts.next, strict=True) for p in range(n)[-5:]]
            assert facts.facts.tobytes() == b"".join(wanted)
            last, held = reader.last_cut(), reader.holding()
            if reader.last_cut() == last:
                assert set(held.next.tolist()) == {ROWS * (last + 1)}
                seen.add(last)
        writer.kill()
    assert not reader.damaged
    store = opened(url)
    cut = store.last_cut() + 1
    store.append(rows_of(given_at(cut)), cut)
    check_whole(store, cut)
    store.close()
    reader.close()


def test_one_more_event_sends_one_row_and_many_users_are_one_round(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(url)
    users = list(range(30))
    store.append(rows_of([(user, 0, [1] * 150, 0, 1) for user in users]), 0)
    sent, rounds, real = 0, 0, Link._round

    def counted(self: Link, commands: list[tuple[Any, ...]], *args: object) -> object:
        nonlocal sent, rounds
        rounds += 1
        of_users = [command for command in commands if not set(store._markers) & set(command)]
        sent += sum(len(part) if isinstance(part, bytes) else 8 for command in of_users for part in command)
        return real(self, commands, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "_round", counted)
    keys = np.array(users, np.uint64)
    found = store.read_facts(keys, 100, np.full(len(keys), 30))
    assert rounds == 1 and set(found.counts.tolist()) == {90}
    rounds = 0
    store.read_states(keys, found.next - 70, np.full(len(keys), 70))
    assert rounds == 1
    rounds = sent = 0
    store.append(rows_of([(3, 150, [2], 0, 2)]), 1)
    assert rounds == 5 and 0 < sent < 2000  # the markers, the user's ring, its row, the markers set and read again
    store.close()


def test_a_slot_that_moves_is_followed() -> None:
    check_moves(servers.cluster())


def check_moves(cluster: servers.Cluster) -> None:
    store, plain = opened(cluster.url()), PlainStore()
    store.append(rows_of(given_at(0)), 0)
    plain.append(given_at(0), 0)
    with cluster.moving(slot_of(store._keys(ALL[:1])[0])):
        store.append(rows_of(given_at(1)), 1)  # ASK
        plain.append(given_at(1), 1)
        assert_same_users(store, plain)
    store.append(rows_of(given_at(2)), 2)  # MOVED
    plain.append(given_at(2), 2)
    assert_same(store, plain, USERS)
    store.close()


def assert_same_users(store: Store, plain: PlainStore) -> None:
    found = store.read_facts(ALL, 100)
    assert found.facts.tobytes() == b"".join(b"".join(plain.facts(user, 100, None)[3]) for user in USERS)


def test_a_server_that_is_gone_is_one_clear_line_and_soon(own: servers.Server) -> None:
    url = own.url()
    store = opened(url)
    store.append(rows_of(given_at(0)), 0)
    reader = opened(url, readonly=True)
    own.kill()
    for ask in (lambda: reader.read_facts(ALL, 5), lambda: opened(url, readonly=True), lambda: opened(url)):
        began = time.monotonic()
        with pytest.raises(StoreError, match=rf"^{url}: does not answer \(.*refused.*\): start it or mend memory.url"):
            ask()
        assert time.monotonic() - began < 5
    own.start()  # with nothing that it had
    assert reader.last_cut() == -1
    with pytest.raises(StoreError, match=r"has gone back from cut 0 to -1.*`marm resume` writes it again"):
        store.append(rows_of(given_at(1)), 1)
    store.close()
    reader.close()


def test_a_server_that_begins_anew_between_rows_and_their_marker_gets_the_rows_again(
    own: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, mark, restarts = opened(own.url()), RedisStore._mark, [True]

    def restarted(self: RedisStore, cut: int, lineages: list[bytes]) -> None:
        if restarts:
            restarts.pop()
            own.kill()
            own.start()  # with nothing that it had
        mark(self, cut, lineages)

    monkeypatch.setattr(RedisStore, "_mark", restarted)
    store.append(rows_of(given_at(0)), 0)
    assert not restarts
    check_whole(store, 0)
    store.close()


def test_a_server_that_may_evict_or_is_full_is_refused(own: servers.Server) -> None:
    with own.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(StoreError, match=r"may evict .*maxmemory-policy allkeys-lru.*set it to noeviction"):
            opened(own.url("marm"))
        client.config_set("maxmemory-policy", "noeviction")
        store = opened(own.url("marm"))
        store.append(rows_of(given_at(0)), 0)
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreError, match=r"has no memory left .*raise its maxmemory"):
            store.append(rows_of(given_at(1)), 1)
        client.config_set("maxmemory", 0)
        check_whole(store, 0)
        store.append(rows_of(given_at(1)), 1)
        check_whole(store, 1)
    store.close()


def test_wrong_bytes_name_their_user_and_nobody_elses_rows_are_touched(url: str) -> None:
    store = opened(url)
    given = [(user, 0, [1] * 100, 0, 1) for user in range(4)]
    store.append(rows_of(given), 0)
    for user, field, at in ((0, "s1", 30), (1, "f0", 2), (2, "m", 17)):  # states, facts, when it was last seen
        (key,) = store._keys(np.array([user], np.uint64))
        value = bytearray(store._ask([("HGET", key, field)])[0])
        value[at] ^= 64
        store._ask([("HSET", key, field, bytes(value))])
    keys = np.arange(4, dtype=np.uint64)
    found = store.read_facts(keys, 100)
    store.read_states(keys, np.full(4, 60), np.full(4, 40))
    assert store.damaged == {0, 1, 2} and found.next.tolist() == [100, 0, 0, 100]
    plain = PlainStore()
    plain.append(given[3:], 0)
    assert_same(store, plain, [0, 1, 2, 3])
    again = [(user, 0, [7], 0, 2) for user in range(3)]
    store.append(replace(rows_of(again), forgotten=keys[:3]), 1)
    plain.append(again, 1)
    assert_same(store, plain, [0, 1, 2, 3])
    for key in store._keys(keys[:3]):  # nothing is left of what was forgotten
        assert set(store._ask([("HKEYS", key)])[0]) == {b"m", b"f0", b"s0"}
    store.close()


def test_users_that_servers_let_go_are_users_never_seen_and_begin_anew(url: str) -> None:
    store, plain = open_store(url, LAYOUT, Path(), ttl=0.2), PlainStore()
    store.append(rows_of([(user, 0, [1] * 80, 0, 1) for user in (1, 2, 3)]), 0)
    keys = np.array([1, 2, 3, 4], np.uint64)
    servers.wait_until(lambda: not store.read_facts(keys, 9).next.any())
    _, there = store.read_states(keys, np.full(4, 70), np.full(4, 10))
    assert not there.any() and not len(store.holding().users) and store.last_cut() == 0
    kept = open_store(url, LAYOUT, Path())
    given = [(1, 0, [5] * 4, 0, 2), (2, 80, [5] * 4, 0, 2), (3, 80, [], 80, 2), (4, 0, [5], 0, 2)]
    kept.append(rows_of(given), 1)
    assert kept.gone == {2, 3} and not kept.damaged
    plain.append([given[0], given[3]], 1)
    assert_same(kept, plain, [1, 2, 3, 4])
    kept.append(rows_of([(2, 0, [6] * 3, 0, 3)]), 2)
    plain.append([(2, 0, [6] * 3, 0, 3)], 2)
    assert not kept.gone
    assert_same(kept, plain, [1, 2, 3, 4])
    store.close()
    kept.close()


def test_each_append_sets_how_long_servers_keep_its_users(url: str) -> None:
    def left(store: RedisStore) -> list[int]:
        return store._ask([("PTTL", key) for key in store._keys(np.array([1, 2], np.uint64))])

    store, reader = open_store(url, LAYOUT, Path(), ttl=9000.0), opened(url)
    assert isinstance(store, RedisStore)
    store.append(rows_of([(1, 0, [1], 0, 1), (2, 0, [1], 0, 1)]), 0)
    assert all(8_000_000 < ms <= 9_000_000 for ms in left(store))
    store._ask([("PEXPIRE", key, 1_000_000) for key in store._keys(np.array([1, 2], np.uint64))])
    reader.read_facts(np.array([1, 2], np.uint64), 1)
    store.append(rows_of([(1, 1, [1], 0, 1)]), 1)
    first, second = left(store)
    assert first > 8_000_000 and second <= 1_000_000
    reader.append(rows_of([(2, 1, [1], 0, 1)]), 2)  # a store that keeps for ever
    assert left(store)[1] == -1
    assert [ms for (ms,) in [store._ask([("PTTL", store._prefix + b"about")])]] == [-1]
    store.close()
    reader.close()


def test_rows_that_are_no_longer_kept_leave_the_server(url: str) -> None:
    store = opened(url)
    for cut in range(12):
        store.append(rows_of([(7, 50 * cut, [cut] * 50, 0, cut)]), cut)
    store.append(rows_of([(7, 600, [], 600, 13)]), 13)
    (key,) = store._keys(np.array([7], np.uint64))
    fields = {b"m", b"f7", b"f8", b"f9", b"s9"}  # facts from 450 on; states begin at 600, in the field of 558 to 619
    assert set(store._ask([("HKEYS", key)])[0]) == fields
    store.close()


def test_another_layout_or_version_is_refused_and_nothing_is_made_to_be_read(url: str) -> None:
    with pytest.raises(FolderError, match="holds no store: train into it first"):
        opened(url, readonly=True)
    store = opened(url)
    with pytest.raises(LayoutError, match=r"holds model = a test, this model reads model = another"):
        open_store(url, replace(LAYOUT, model="another"), Path())
    store._ask([("SET", store._prefix + b"about", b'{"format": 99}')])
    with pytest.raises(FolderError, match="written by another version"):
        opened(url)
    with pytest.raises(ValueError, match="opened to read only"):
        reader_append(url)
    store.close()


def reader_append(url: str) -> None:
    fresh = opened(url + "x")
    reader = opened(url + "x", readonly=True)
    fresh.close()
    try:
        reader.append(rows_of(given_at(0)), 0)
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://me:secret@host/x", "MARM_REDIS_USERNAME and MARM_REDIS_PASSWORD"),
        ("redis://host:6379/0", "is no name of a store"),
        ("redis://host:port", "give host, host:port or several"),
        ("redis://", "give redis://host:port"),
    ],
)
def test_a_url_that_is_none_says_what_to_give(url: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=told) as raised:
        open_store(url, LAYOUT, tmp_path)
    assert "secret" not in str(raised.value)


def test_without_redis_py_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("marm.store.redis", "redis"))]:
        if name not in ("marm.store.redis_url",):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingError, match=r'needs redis-py: `pip install "marm-recsys\[redis\]"`'):
        open_store("redis://host/x", LAYOUT, tmp_path)


def test_arena_and_redis_give_the_same_bytes(url: str) -> None:
    """Of random rings and questions."""
    store, arena, random = opened(url), ArenaStore(LAYOUT), np.random.default_rng(os.getpid())
    for cut in range(4):
        given = [(user, 40 * cut, random.integers(0, 999, 40).tolist(), 0, cut) for user in range(50)]
        rows: Rows = rows_of(given)
        store.append(rows, cut)
        arena.append(rows, cut)
    users = random.integers(0, 60, 200).astype(np.uint64)
    first, counts = random.integers(0, 160, 200), random.integers(0, 70, 200)
    for one, other in zip(
        store.read_states(users, first, counts), arena.read_states(users, first, counts), strict=True
    ):
        assert np.array_equal(one, other)
    store.close()
