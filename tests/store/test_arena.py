from pathlib import Path

import numpy as np
import pytest

from marm.errors import DiskError, FolderError, LayoutError
from marm.store import ArenaStore, Layout
from tests.store.rings import LAYOUT, PlainStore, assert_same, facts_row, rows_of, state_row


def filled() -> tuple[ArenaStore, PlainStore]:
    store, plain = ArenaStore(LAYOUT), PlainStore()
    for cut in range(12):
        given = [(user, 25 * cut, list(range(25)), 20 * cut * (user % 2), cut) for user in range(6)]
        store.append(rows_of(given), cut)
        plain.append(given, cut)
    return store, plain


def test_a_dump_brings_everything_back_and_can_be_appended_to(tmp_path: Path) -> None:
    store, plain = filled()
    store.dump(tmp_path / "store")
    again = ArenaStore(LAYOUT)
    again.append(rows_of([(50, 0, [1], 0, 0)]), 0)
    again.load(tmp_path / "store")
    assert_same(again, plain, [*range(6), 50])
    more = [(user, 290, [5] * 40, 0, 12) for user in (1, 2)] + [(77, 0, [1] * 9, 0, 12)]
    again.append(rows_of(more), 12)
    plain.append(more, 12)
    assert_same(again, plain, [*range(6), 50, 77])


def test_an_empty_arena_can_be_dumped(tmp_path: Path) -> None:
    ArenaStore(LAYOUT).dump(tmp_path / "store")
    again = ArenaStore(LAYOUT)
    again.load(tmp_path / "store")
    assert_same(again, PlainStore(), [1])


def test_a_dump_of_another_layout_is_refused(tmp_path: Path) -> None:
    filled()[0].dump(tmp_path / "store")
    with pytest.raises(LayoutError, match="facts_kept = 150, this model reads facts_kept = 9"):
        ArenaStore(Layout(**{**vars(LAYOUT), "facts_kept": 9})).load(tmp_path / "store")


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b.replace(b"NUMPY", b"NUMPI", 1), lambda b: b""])
def test_a_damaged_dump_is_refused_and_changes_nothing(tmp_path: Path, damage) -> None:
    store, plain = filled()
    store.dump(tmp_path / "store")
    (tmp_path / "store").write_bytes(damage((tmp_path / "store").read_bytes()))
    with pytest.raises(FolderError, match="not a whole dump of an arena"):
        store.load(tmp_path / "store")
    assert_same(store, plain, list(range(6)))


def test_a_dump_whose_table_of_users_is_wrong_is_refused(tmp_path: Path) -> None:
    store, _ = filled()
    store.dump(tmp_path / "store")
    whole = (tmp_path / "store").read_bytes()
    users = store.holding().users.tobytes()
    (tmp_path / "store").write_bytes(whole.replace(users, users[::-1], 1))
    with pytest.raises(FolderError, match="its tables are damaged"):
        store.load(tmp_path / "store")


@pytest.mark.parametrize("row", [facts_row(3, 200, 0), state_row(3, 280, 5)])
def test_a_user_whose_page_in_a_dump_is_wrong_is_named_and_forgotten(tmp_path: Path, row: bytes) -> None:
    store, plain = filled()
    store.dump(tmp_path / "store")
    whole = (tmp_path / "store").read_bytes()
    assert whole.count(row) == 1
    (tmp_path / "store").write_bytes(whole.replace(row, bytes([row[0] ^ 64]) + row[1:]))
    store.load(tmp_path / "store")
    assert store.damaged == {3}
    del plain.rings[3]
    assert_same(store, plain, list(range(6)))


def test_no_byte_of_who_was_forgotten_is_in_a_dump(tmp_path: Path) -> None:
    store, _ = filled()
    secret = 0xFEEDFACECAFEBEEF
    for cut in range(12, 16):
        store.append(rows_of([(secret, 30 * (cut - 12), [1] * 30, 0, 0)]), cut)
    store.dump(tmp_path / "before")
    store.forget(np.array([secret], np.uint64))
    store.dump(tmp_path / "after")
    mark = np.uint64(secret).tobytes()
    assert mark in (tmp_path / "before").read_bytes() and mark not in (tmp_path / "after").read_bytes()


def test_a_dump_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No such file"):
        ArenaStore(LAYOUT).dump(tmp_path / "none" / "store")


def test_pages_are_lent_again_so_full_rings_take_no_more_memory() -> None:
    store = ArenaStore(LAYOUT)
    sizes = []
    for cut in range(60):
        store.append(rows_of([(user, 10 * cut, [1] * 10, 0, cut) for user in range(50)]), cut)
        sizes.append(len(store._states.data) + len(store._facts.data))
    assert sizes[-1] == sizes[25]
    lent = int(store._states.tally[0] - store._states.tally[1])
    assert lent == 50 * 2  # positions 530 to 599 at 64 rows to a page


def test_running_out_of_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store, plain = filled()

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(store._states, "reserve", full)
    with pytest.raises(MemoryError):
        store.append(rows_of([(0, 300, [1], 0, 0), (90, 0, [1], 0, 0)]), 12)
    assert_same(store, plain, [*range(6), 90])


def test_a_budget_sets_room_for_states_aside() -> None:
    store = ArenaStore(LAYOUT, budget=10**6)
    before = store._states.data
    store.append(rows_of([(user, 0, [1] * 70, 0, 0) for user in range(100)]), 0)
    assert store._states.data is before and len(before) >= 10**6
    assert np.array_equal(store.read_facts(np.array([3], np.uint64), 1).next, [70])
