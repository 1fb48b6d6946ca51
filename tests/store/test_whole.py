"""Users read whole from servers: by one round trip, and never a row of another user, place or moment than the facts say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.store import Near, Store, open_store, read_through
from marm.store.asof import AsOf
from marm.store.redis import RedisStore
from marm.store.redis_link import Link
from marm.store.whole import read_whole
from tests.store import servers
from tests.store.rings import LAYOUT, Given, PlainStore, rows_of
from tests.store.test_contract import assert_whole

USERS = np.array([1, 2, 3, 2**63, 99], np.uint64)
"""The last is in no store."""
COUNT = LAYOUT.states_kept
LENGTHS = [10, 130, 400, 62, 0]
ENDS = np.array(LENGTHS, np.int64)


def opened(url: str) -> RedisStore:
    store = open_store(url, LAYOUT, Path())
    assert isinstance(store, RedisStore)
    return store


@pytest.fixture(params=["single", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[RedisStore]:
    """Rings that are short, that let states go, and facts too, and that end with a chunk."""
    out = opened(getattr(servers, request.param)().url())
    out.append(rows_of(given()), 0)
    yield out
    out.close()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Commands of each round trip."""
    out, real = list[int](), Link._round

    def counted(self: Link, commands: list[tuple[Any, ...]], *args: object) -> object:
        out.append(len(commands))
        return real(self, commands, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "_round", counted)
    return out


def given() -> list[Given]:
    both = zip(USERS.tolist(), LENGTHS, strict=True)
    return [(user, 0, list(range(n)), 0, n) for user, n in both if n]


def plain_of(*appends: list[Given]) -> PlainStore:
    plain = PlainStore()
    for cut, rows in enumerate(appends):
        plain.append(rows, cut)
    return plain


def test_facts_and_states_are_one_round_and_who_ends_elsewhere_is_asked_for_again(
    store: RedisStore, rounds: list[int]
) -> None:
    plain = plain_of(given())
    for expected, wanted in (
        (ENDS, [2 * len(USERS)]),
        (None, [len(USERS)] * 2),
        (np.zeros_like(ENDS), [len(USERS)] * 2),
        (ENDS + np.array([0, 1, -1, 0, 9]), [2 * len(USERS), 2]),  # of the last there is nothing to ask for
    ):
        rounds.clear()
        assert_whole(store, plain, USERS, COUNT, expected)
        assert rounds == wanted
    rounds.clear()
    read_whole(store, USERS[-1:], COUNT, LAYOUT.state_bytes, ENDS[-1:])
    assert rounds == [1]


def test_as_of_a_cut_states_are_read_once_whatever_was_appended_since(store: RedisStore, rounds: list[int]) -> None:
    asof, writer, plain = AsOf(store, store.holding()), opened(store.address.url), plain_of(given())
    assert asof.ends(USERS).tolist() == LENGTHS
    rounds.clear()
    assert_whole(asof, plain, USERS, 20, asof.ends(USERS))
    assert rounds == [2 * len(USERS)]
    writer.append(rows_of([(1, 10, [7] * 5, 0, 1), (2, 130, [7] * 4, 0, 2)]), 1)
    writer.append(rows_of([(99, 0, [7], 0, 3)]), 2)
    rounds.clear()
    found, states, there = read_whole(asof, USERS, 20, LAYOUT.state_bytes, asof.ends(USERS))
    assert rounds == [2 * len(USERS), len(USERS)]  # facts further back, no states
    assert store.read_facts(USERS, 1).next.tolist() == [15, 134, 400, 62, 1]
    assert found.next.tolist() == LENGTHS and there.all()
    assert found.facts.tobytes() == b"".join(b"".join(plain.facts(u, 20, None)[3]) for u in USERS.tolist())
    at = [(u, p) for u, n in zip(USERS.tolist(), LENGTHS, strict=True) for p in range(n)[-20:]]
    assert states.tobytes() == b"".join(plain.state(u, p) or b"" for u, p in at)
    writer.close()


def test_who_is_appended_to_between_facts_and_states_has_states_of_its_facts(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, told, left = opened(store.address.url), RedisStore._facts_told, [1]
    rows: list[Given] = [(1, 10, [7] * 6, 0, 1), (2, 100, [8] * 70, 0, 2)]

    def late(self: RedisStore, *about: Any) -> Any:
        if left:
            left.pop()
            writer.append(rows_of(rows), 1)  # after what was asked at once, before what is asked again
        return told(self, *about)

    monkeypatch.setattr(RedisStore, "_facts_told", late)
    found, states, there = read_whole(store, USERS, COUNT, LAYOUT.state_bytes, ENDS - np.array([3, 3, 0, 0, 0]))
    before, after = plain_of(given()), plain_of(given(), rows)
    assert not left and found.next.tolist() == LENGTHS
    row = 0
    for user, size in zip(USERS.tolist(), LENGTHS, strict=True):
        for position in range(size)[-COUNT:]:
            allowed = {before.state(user, position), after.state(user, position)}
            assert states[row].tobytes() in allowed if there[row] else None in allowed
            row += 1
    assert row == len(there) and not there.all()  # the second user's oldest were let go by then
    writer.close()


def test_of_whom_bytes_are_wrong_there_are_neither_facts_nor_states(store: RedisStore) -> None:
    for user, field, at in ((0, "s0", 30), (1, "f1", 2), (2, "m", 17)):
        (key,) = store._keys(USERS[user : user + 1])
        value = bytearray(store._ask([("HGET", key, field)])[0])
        value[at] ^= 64
        store._ask([("HSET", key, field, bytes(value))])
    assert_whole(store, plain_of(given()[3:]), USERS, COUNT, ENDS)
    assert store.damaged == set(USERS[:3].tolist())
    assert_whole(store, plain_of(given()[3:]), USERS, COUNT, ENDS)


def test_rows_at_hand_save_the_rest_and_are_never_of_another_moment_or_generation(
    store: RedisStore, rounds: list[int]
) -> None:
    near, url = Near(1 << 24), store.address.url
    reader, plain = read_through(near, opened(url)), plain_of(given())
    for asked in ([2 * len(USERS)], [4, 2]):  # then only of whom nothing is kept: it is in no store
        rounds.clear()
        assert_whole(reader, plain, USERS, COUNT, ENDS)
        assert rounds == asked
    assert (near.asked, near.found) == (2 * len(USERS), 4)
    rows: list[Given] = [(2, 120, [5] * 30, 0, 3)]
    store.append(rows_of(rows), 1)
    plain.append(rows, 1)
    rounds.clear()
    assert_whole(reader, plain, USERS, COUNT, ENDS)
    assert rounds == [4, 4, 1, 1]  # it and the unknown one; then its states where it ends now
    fresh = store.beside()
    anew: list[list[Given]] = [
        [(u, 0, [6] * len(stamps), 0, seen) for u, _, stamps, _, seen in given()],
        [(2, 120, [9] * 30, 0, 3)],
    ]
    for cut, some in enumerate(anew):
        fresh.append(rows_of(some), cut)
    assert fresh.metas(USERS) == store.metas(USERS)
    fresh.take_over(1)
    swapped: Store = read_through(near, opened(url))
    other = plain_of(*anew)
    for _ in range(2):
        assert_whole(swapped, other, USERS, COUNT, ENDS)
        assert_whole(reader, plain, USERS, COUNT, ENDS)  # who reads the one before goes on with it
    for one in (reader, swapped, fresh):
        one.close()
