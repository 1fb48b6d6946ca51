"""What every store promises, asked of each."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.store import ArenaStore, LmdbStore, Near, Store, generations, open_store, read_through
from marm.store.whole import read_whole
from tests.store import servers
from tests.store.rings import LAYOUT, PlainStore, assert_same, rows_of

USERS = [0, 7, 2**63, 2**64 - 1]
SECURED = "redis cluster, by TLS, a narrow user"
KINDS: dict[str, Callable[[Path], Store]] = {
    "arena": lambda folder: ArenaStore(LAYOUT),
    "lmdb": lambda folder: LmdbStore(folder / "memory", LAYOUT),
    "redis": lambda folder: open_store(servers.single().url(f"contract.{folder.name}"), LAYOUT, folder),
    "redis, read through": lambda folder: through(folder, 1 << 20),
    "redis, little kept": lambda folder: through(folder, 6000),
    "redis cluster": lambda folder: open_store(servers.cluster().url(f"contract.{folder.name}"), LAYOUT, folder),
    SECURED: lambda folder: open_store(servers.secured().url(f"store.contract.{folder.name}"), LAYOUT, folder),
}


def through(folder: Path, most_bytes: int) -> Store:
    return read_through(Near(most_bytes), open_store(servers.single().url(f"contract.{folder.name}"), LAYOUT, folder))


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == SECURED:
        servers.enter_secured(monkeypatch)
    opened = KINDS[request.param](tmp_path)
    yield opened
    opened.close()


def ids(*users: int) -> np.ndarray:
    return np.array(users, np.uint64)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_a_user_never_seen_has_an_empty_ring(store: Store) -> None:
    facts = store.read_facts(ids(5, 6), 10, whole(0, 9))
    assert facts.next.tolist() == facts.counts.tolist() == facts.states_from.tolist() == [0, 0]
    rows, there = store.read_states(ids(5), whole(0), whole(3))
    assert not there.any() and not rows.any() and rows.shape == (3, LAYOUT.state_bytes)
    assert store.last_cut() == -1 and store.stats().users == 0


def test_no_users_is_an_ordinary_question(store: Store) -> None:
    assert store.read_facts(ids(), 10, whole()).facts.shape == (0, LAYOUT.facts_bytes)
    assert store.read_states(ids(), whole(), whole())[0].shape == (0, LAYOUT.state_bytes)
    store.append(rows_of([]), 0)
    assert store.last_cut() == 0


def test_a_replayed_cut_changes_nothing(store: Store) -> None:
    store.append(rows_of([(7, 0, [1, 2, 3], 0, 3)]), 4)
    plain = PlainStore()
    plain.append([(7, 0, [1, 2, 3], 0, 3)], 4)
    for cut in (4, 3):
        store.append(rows_of([(7, 0, [9, 9], 1, 8), (8, 0, [9], 0, 8)]), cut)
        assert_same(store, plain, [7, 8])


def test_positions_already_there_are_replaced_and_later_ones_stay(store: Store) -> None:
    plain = PlainStore()
    for cut, given_ in enumerate([[(7, 0, list(range(100)), 0, 1)], [(7, 60, [901, 902, 903, 904, 905], 0, 2)]]):
        store.append(rows_of(given_), cut)
        plain.append(given_, cut)
    assert_same(store, plain, [7])


def test_facts_before_a_time_exclude_that_time(store: Store) -> None:
    store.append(rows_of([(7, 0, [0] * 140, 0, 0)]), 0)
    facts = store.read_facts(ids(7, 7, 7), 4, whole(30, 31, 0))
    assert facts.first.tolist()[:2] == [86, 89] and facts.counts.tolist() == [4, 4, 0]
    assert facts.facts[:, :8].copy().view(np.int64)[:, 0].tolist() == [28, 29, 29, 29, 29, 30, 30, 30]


def test_states_from_never_falls_and_hides_states_but_not_facts(store: Store) -> None:
    plain = PlainStore()
    for cut, states_from in enumerate((0, 6, 2)):
        given_ = [(7, 0, [cut] * 10, states_from, cut)]
        store.append(rows_of(given_), cut)
        plain.append(given_, cut)
    assert_same(store, plain, [7])
    _, there = store.read_states(ids(7), whole(0), whole(10))
    assert there.tolist() == [False] * 6 + [True] * 4


def test_one_read_may_name_a_user_twice_and_any_positions(store: Store) -> None:
    store.append(rows_of([(7, 0, [3] * 10, 0, 0)]), 0)
    rows, there = store.read_states(ids(7, 1, 7), whole(8, 0, 2), whole(4, 1, 2))
    assert there.tolist() == [True, True, False, False, False, True, True]
    assert rows[:, 8:12].copy().view(np.int32)[:, 0].tolist() == [8, 9, 0, 0, 0, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [[(7, 4, [1], 0, 0)], [(7, 0, [1], 4, 0)], [(7, -1, [1], 0, 0)], [(7, 0, [1], -1, 0)], [(8, 0, [1], 0, 0)] * 2],
)
def test_rows_that_break_the_contract_are_refused_whole(store: Store, wrong: list) -> None:
    store.append(rows_of([(7, 0, [1, 2, 3], 0, 3)]), 0)
    plain = PlainStore()
    plain.append([(7, 0, [1, 2, 3], 0, 3)], 0)
    with pytest.raises(ValueError, match=r"^(user|a user)"):
        store.append(rows_of([(9, 0, [5], 0, 0), *wrong]), 1)
    assert_same(store, plain, [7, 8, 9])


def test_rows_of_another_width_are_refused(store: Store) -> None:
    rows = rows_of([(7, 0, [1], 0, 0)])
    narrow = type(rows)(**{**vars(rows), "states": rows.states[:, :-1]})
    with pytest.raises(ValueError, match=r"states to append have shape \(1, 19\), wanted \(1, 20\)"):
        store.append(narrow, 0)
    assert store.last_cut() == -1


def test_a_cleared_store_is_like_new(store: Store) -> None:
    store.append(rows_of([(7, 0, [1] * 90, 20, 3)]), 5)
    store.clear()
    assert_same(store, PlainStore(), [7])
    store.append(rows_of([(7, 0, [2], 0, 0)]), 0)
    plain = PlainStore()
    plain.append([(7, 0, [2], 0, 0)], 0)
    assert_same(store, plain, [7])


def test_more_rows_at_once_than_are_kept_leave_the_newest(store: Store) -> None:
    given_ = [(7, 0, list(range(400)), 0, 0), (8, 0, [5], 0, 0)]
    store.append(rows_of(given_), 0)
    plain = PlainStore()
    plain.append(given_, 0)
    assert_same(store, plain, [7, 8])


def test_many_small_appends_of_many_users_never_mix_them(store: Store) -> None:
    plain = PlainStore()
    random = np.random.default_rng(3)
    for cut in range(40):
        users = random.choice(60, 12, replace=False).tolist()
        given_ = []
        for user in users:
            size = len(plain.rings[user].stamps) if user in plain.rings else 0
            first = max(0, size - int(random.integers(0, 3)))
            stamps = random.integers(0, 1000, int(random.integers(0, 45))).tolist()
            given_.append((user, first, stamps, max(0, size - int(random.integers(0, 60))), cut))
        forgotten = random.choice(60, 2).tolist() if cut % 3 == 0 else []
        if cut % 2:
            store.append(rows_of(given_), cut)
            store.forget(ids(*forgotten))
            plain.append(given_, cut)
            plain.forget(forgotten)
        else:
            # Those forgotten and appended to at once begin anew.
            plain.forget(forgotten)
            given_ = [(u, 0, s, 0, n) if u in forgotten else (u, f, s, b, n) for u, f, s, b, n in given_]
            store.append(replace(rows_of(given_), forgotten=ids(*forgotten)), cut)
            plain.append(given_, cut)
        if cut == 20 and isinstance(store, LmdbStore):
            fresh = LmdbStore(store.path, LAYOUT, generation=generations.beside(store.path))
            store.copy_rows(fresh)
            fresh.take_over(cut)
            store.close()
            store = fresh
    assert_same(store, plain, list(range(62)))
    store.close()


def test_rows_that_break_the_contract_forget_nobody(store: Store) -> None:
    store.append(rows_of([(7, 0, [1, 2, 3], 0, 3)]), 0)
    plain = PlainStore()
    plain.append([(7, 0, [1, 2, 3], 0, 3)], 0)
    with pytest.raises(ValueError, match="beyond"):
        store.append(replace(rows_of([(7, 3, [5], 0, 0)]), forgotten=ids(7)), 1)
    assert_same(store, plain, [7])


def test_space_grows_by_what_is_appended_and_falls_by_what_is_forgotten(store: Store) -> None:
    store.append(rows_of([(1, 0, [1], 0, 0)]), 0)
    before = store.space()
    store.append(rows_of([(user, 0, [user] * 150, 0, user) for user in range(2, 82)]), 1)
    after, rows = store.space(), store.stats().bytes
    assert rows > 400_000
    assert rows < after.used - before.used < 5 * rows  # primaries keep what they told replicas, too
    assert after.taken > 0.9 * after.used  # servers may have given back what they still count
    assert after.fragmentation >= 0.99 * after.taken / after.used
    store.forget(np.arange(2, 82, dtype=np.uint64))
    servers.wait_until(lambda: store.space().used < after.used - rows / 2)  # a server frees memory beside its work


def test_a_user_read_whole_is_what_both_readings_say_wherever_its_end_was_expected(store: Store) -> None:
    random, plain, sizes = np.random.default_rng(8), PlainStore(), dict.fromkeys(range(12), 0)
    for cut in range(6):
        given_ = []
        for user in random.choice(12, 8, replace=False).tolist():
            stamps = random.integers(0, 999, int(random.integers(1, 70))).tolist()
            given_.append((user, sizes[user], stamps, max(0, sizes[user] - int(random.integers(0, 90))), cut))
            sizes[user] += len(stamps)
        store.append(rows_of(given_), cut)
        plain.append(given_, cut)
    assert max(sizes.values()) > LAYOUT.facts_kept and 0 < min(size for size in sizes.values() if size) < 150
    users = random.permutation(np.array([*sizes, 77, 78], np.uint64))
    ends = np.array([sizes.get(int(user), 0) for user in users], np.int64)
    near = np.maximum(ends + random.integers(-3, 4, len(ends)), 0)
    for count in (0, 1, 62, LAYOUT.states_kept, LAYOUT.facts_kept, 1000):
        for expected in (None, ends, near, np.zeros_like(ends), ends[::-1].copy(), near + 500):
            assert_whole(store, plain, users, count, expected)


def assert_whole(
    store: Store, plain: PlainStore, users: np.ndarray, count: int, expected: np.ndarray | None = None
) -> None:
    """What is read whole is what a plain store says of facts, and of states at their positions."""
    found, states, there = read_whole(store, users, count, LAYOUT.state_bytes, expected)
    told = [
        plain.facts(user, count, None) if count else (*plain.facts(user, 1, None)[:2], 0, []) for user in users.tolist()
    ]
    assert found.next.tolist() == [size for size, _, _, _ in told]
    assert found.states_from.tolist() == [states_from for _, states_from, _, _ in told]
    assert found.counts.tolist() == [rows for _, _, rows, _ in told]
    assert found.facts.tobytes() == b"".join(row for _, _, _, rows in told for row in rows)
    at = [(u, n - r + i) for u, (n, _, r, _) in zip(users.tolist(), told, strict=True) for i in range(r)]
    wanted = [plain.state(user, position) for user, position in at]
    assert there.tolist() == [state is not None for state in wanted]
    assert states.tobytes() == b"".join(state or bytes(LAYOUT.state_bytes) for state in wanted)


APPENDS = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(USERS),
            st.integers(0, 200),  # how far back the first row lies
            st.lists(st.integers(0, 999), max_size=30).map(lambda stamps: stamps * (1 + 5 * (len(stamps) % 4 == 3))),
            st.integers(0, 300),  # how far back states begin
            st.integers(0, 99),
        ),
        max_size=3,
        unique_by=lambda row: row[0],
    ),
    max_size=7,
)


CUTS, REOPEN = st.lists(st.integers(-1, 2), min_size=7, max_size=7), st.integers(0, 7)


@pytest.mark.parametrize("kind", ["arena", "lmdb"])
@settings(max_examples=40, deadline=None)
@given(appends=APPENDS, cuts=CUTS, reopen=REOPEN)
def test_any_appends_read_as_lists_that_grow(kind: str, appends: list, cuts: list[int], reopen: int) -> None:
    check_any_appends(kind, appends, cuts, reopen)


@pytest.mark.parametrize("kind", ["redis", "redis, read through", "redis cluster"])
@settings(max_examples=6, deadline=None)
@given(appends=APPENDS, cuts=CUTS, reopen=REOPEN)
def test_any_appends_read_so_from_servers_too(kind: str, appends: list, cuts: list[int], reopen: int) -> None:
    check_any_appends(kind, appends, cuts, reopen)


def check_any_appends(kind: str, appends: list, cuts: list[int], reopen: int) -> None:
    with TemporaryDirectory() as folder:
        store, plain = KINDS[kind](Path(folder)), PlainStore()
        for step, (rows, rise) in enumerate(zip(appends, cuts, strict=False)):
            given_ = []
            for user, back, stamps, states_back, seen in rows:
                size = len(plain.rings[user].stamps) if user in plain.rings else 0
                first = max(0, size - back)
                upto = max(size, first + len(stamps))
                given_.append((user, first, stamps, max(0, upto - states_back), seen))
            cut = max(0, plain.cut + rise)
            store.append(rows_of(given_), cut)
            plain.append(given_, cut)
            if step == reopen and store.durable:
                store.close()
                store = KINDS[kind](Path(folder))
        assert_same(store, plain, [*USERS, 5])
        store.close()
