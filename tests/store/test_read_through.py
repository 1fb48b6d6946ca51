"""Rows kept in front of servers: who changed is read again, nobody else is, and nothing old is ever told."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.store import Near, Store, open_store, read_through
from marm.store.redis import RedisStore
from marm.store.redis_link import Link
from tests.store import servers
from tests.store.other_process import ROWS, USERS, given_at
from tests.store.rings import LAYOUT, PlainStore, assert_same, facts_row, rows_of, state_row

ALL = np.array(USERS, np.uint64)


@pytest.fixture(params=["single", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    return getattr(servers, request.param)().url()


def opened(url: str, near: Near) -> Store:
    return read_through(near, open_store(url, LAYOUT, Path(), readonly=True))


def read_all(store: Store, users: np.ndarray = ALL) -> list[bytes]:
    """Facts and states of users, as a server reads them."""
    found = store.read_facts(users, LAYOUT.states_kept)
    rows, _ = store.read_states(users, found.first, found.counts)
    return [found.facts.tobytes(), rows.tobytes()]


def test_beside_a_writer_a_reading_is_never_older_than_the_cut_before_it(url: str) -> None:
    near, seen = Near(1 << 24), set[int]()
    command = [sys.executable, "-m", "tests.store.other_process", "write", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "0\n"
        store = opened(url, near)
        while len(seen) < 6:
            last = store.last_cut()
            seen.add(last)
            for _ in range(3):  # the first takes what changed, the others may have it
                found = store.read_facts(ALL, 5)
                assert found.next.min() >= ROWS * (last + 1)
                wanted = [
                    facts_row(u, p, p // ROWS) for u, n in zip(USERS, found.next, strict=True) for p in range(n)[-5:]
                ]
                assert found.facts.tobytes() == b"".join(wanted)
                rows, there = store.read_states(ALL, found.next - ROWS, np.full(len(ALL), ROWS))
                states = [
                    state_row(u, p, p // ROWS)
                    for u, n in zip(USERS, found.next, strict=True)
                    for p in range(n - ROWS, n)
                ]
                for row, state, here in zip(rows, states, there, strict=True):
                    assert not here or row.tobytes() == state
        writer.kill()
    assert not store.damaged
    read_all(store)
    found_before = near.found
    assert read_all(store) == read_all(open_store(url, LAYOUT, Path(), readonly=True))
    assert near.found == found_before + 2 * len(ALL)  # nobody writes: all of it was at hand
    store.close()


def test_of_many_users_one_that_changed_is_sent_again_and_by_one_round(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, near = open_store(url, LAYOUT, Path()), Near(1 << 24)
    plain = PlainStore()
    for cut in range(30):
        writer.append(rows_of(given_at(cut)), cut)
        plain.append(given_at(cut), cut)
    store = opened(url, near)
    before, rounds, real = read_all(store), list[list[tuple[Any, ...]]](), Link._round

    def counted(self: Link, commands: list[tuple[Any, ...]], *args: object) -> object:
        rounds.append(commands)
        return real(self, commands, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "_round", counted)
    assert read_all(store) == before
    assert [{command[0] for command in one} for one in rounds] == [{"HGET"}, {"HGET"}]
    writer.append(rows_of([(3, 90, [5], 0, 30)]), 30)
    plain.append([(3, 90, [5], 0, 30)], 30)
    rounds.clear()
    store.close()
    store = opened(url, near)  # as after a swap to a new cut
    rounds.clear()
    read_all(store)
    assert [len(one) for one in rounds] == [len(USERS), 1, len(USERS)] + [1] * (len(rounds) - 3)
    assert [one[0][0] for one in rounds] == ["HGET", "EVALSHA", "HGET", "HMGET"]
    monkeypatch.undo()
    assert_same(store, plain, USERS)
    writer.forget(ALL[:2])
    plain.forget(USERS[:2])
    assert_same(store, plain, USERS)
    store.close()
    writer.close()


def test_no_more_is_kept_than_was_allowed(url: str) -> None:
    writer, near = open_store(url, LAYOUT, Path()), Near(20_000)
    for cut in range(30):
        writer.append(rows_of(given_at(cut)), cut)
    store = opened(url, near)
    whole = read_all(open_store(url, LAYOUT, Path(), readonly=True))
    for _ in range(2):
        assert read_all(store) == whole
        assert 0 < near.bytes <= 20_000 and 0 < len(near) < len(USERS)
    assert near.bytes == sum(kept.bytes for kept in near._users.values())
    few = ALL[:4]
    read_all(store, few)
    found = near.found
    read_all(store, few)  # those read last are kept
    assert near.found == found + 2 * len(few)
    store.close()
    writer.close()


def test_a_user_whose_bytes_are_wrong_is_not_told_from_what_is_kept(url: str) -> None:
    writer, near = open_store(url, LAYOUT, Path()), Near(1 << 24)
    writer.append(rows_of([(1, 0, [1] * 40, 0, 1), (2, 0, [1] * 40, 0, 1)]), 0)
    store, users = opened(url, near), np.array([1, 2], np.uint64)
    read_all(store, users)
    (key,) = writer._keys(users[:1])  # type: ignore[attr-defined]
    meta = bytearray(writer._ask([("HGET", key, "m")])[0])  # type: ignore[attr-defined]
    meta[0] ^= 1
    writer._ask([("HSET", key, "m", bytes(meta))])  # type: ignore[attr-defined]
    for _ in range(2):
        assert store.read_facts(users, 9).next.tolist() == [0, 40]
        assert store.damaged == {1}
    store.close()
    writer.close()


def test_rows_of_another_generation_are_not_told_from_what_is_kept(url: str) -> None:
    writer, near = open_store(url, LAYOUT, Path()), Near(1 << 24)
    assert isinstance(writer, RedisStore)
    writer.append(rows_of([(1, 0, [1] * 40, 0, 1)]), 0)
    store, users = opened(url, near), np.array([1], np.uint64)
    read_all(store, users)
    fresh = writer.beside()
    fresh.append(rows_of([(1, 0, [2] * 40, 0, 1)]), 0)
    assert fresh.metas(users) == writer.metas(users)
    fresh.take_over(0)
    plain = PlainStore()
    plain.append([(1, 0, [2] * 40, 0, 1)], 0)
    swapped = opened(url, near)
    assert store.serving() == swapped.generation != store.generation
    assert_same(swapped, plain, [1])
    for opened_store in (store, swapped, fresh, writer):
        opened_store.close()
