import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest

from marm.errors import DiskError, FolderError, LayoutError
from marm.store import Layout, LmdbStore, environment, generations
from tests.store.other_process import LAST, ROWS, USERS, check_whole, given_at, plain_at
from tests.store.rings import LAYOUT, PlainStore, assert_same, rows_of


def other(verb: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.other_process", verb, f"lmdb://{folder}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_writer_killed_at_any_moment_leaves_exactly_one_cut(tmp_path: Path) -> None:
    chance = random.Random(5)
    done = -1
    for _ in range(3):
        with other("write", tmp_path) as writer:
            for _ in range(chance.randint(1, 6)):
                done = int(line(writer))
            time.sleep(chance.random() * 0.02)
            writer.kill()
        store = LmdbStore(tmp_path, LAYOUT)
        assert store.last_cut() >= done
        done = store.last_cut()
        check_whole(store, done)
        store.close()


def test_two_processes_read_whole_cuts_while_one_writes(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, LAYOUT)
    store.append(rows_of(given_at(0)), 0)
    with other("read", tmp_path) as first, other("read", tmp_path) as second:
        readers = (first, second)
        assert [line(reader) for reader in readers] == ["ready", "ready"]
        for cut in range(1, LAST):
            store.append(rows_of(given_at(cut)), cut)
        assert all(int(line(reader)) > 1 for reader in readers)
        assert [reader.wait(30) for reader in readers] == [0, 0]
    check_whole(store, LAST - 1)
    store.close()


def test_another_layout_is_refused_and_names_only_what_differs(tmp_path: Path) -> None:
    LmdbStore(tmp_path, LAYOUT).close()
    asked = Layout(**{**vars(LAYOUT), "state_bytes": 128, "model": "layers 4"})
    with pytest.raises(LayoutError) as raised:
        LmdbStore(tmp_path, asked)
    assert str(raised.value).startswith(
        f"lmdb://{tmp_path} holds state_bytes = 20, model = a test, "
        "this model reads state_bytes = 128, model = layers 4: point memory.url at a new store"
    )
    LmdbStore(tmp_path, LAYOUT).close()


def test_a_store_written_by_another_version_is_refused(tmp_path: Path) -> None:
    LmdbStore(tmp_path, LAYOUT).close()
    with lmdb.open(str(tmp_path / "00000000"), max_dbs=3) as env:
        about = env.open_db(b"about")
        with env.begin(write=True, db=about) as txn:
            txn.put(b"layout", json.dumps({"format": 99}).encode())
    with pytest.raises(FolderError, match="written by another version of marm"):
        LmdbStore(tmp_path, LAYOUT)
    lmdb.open(str(tmp_path / "before generations")).close()
    for readonly in (False, True):
        with pytest.raises(FolderError, match=r"written by another version of marm: name a new folder in memory\.url"):
            LmdbStore(tmp_path / "before generations", LAYOUT, readonly)


def changed(folder: Path, table: bytes, key: bytes, change: Callable[[bytes], bytes | None]) -> None:
    """Change one value in a store that is closed, as a disk might."""
    with lmdb.open(str(folder / "00000000"), max_dbs=3) as env:
        found = env.open_db(table)
        with env.begin(write=True, db=found) as txn:
            value = change(txn.get(key))
            txn.delete(key) if value is None else txn.put(key, value)


def chunk(user: int, column: int, number: int) -> bytes:
    return user.to_bytes(8, "big") + bytes([column]) + number.to_bytes(4, "big")


DAMAGES: dict[str, tuple[bytes, bytes, Callable[[bytes], bytes | None]]] = {
    "a bit of a fact": (b"rows", chunk(3, 0, 1), lambda value: value[:90] + bytes([value[90] ^ 4]) + value[91:]),
    "a bit of a state": (b"rows", chunk(3, 1, 1), lambda value: value[:50] + bytes([value[50] ^ 128]) + value[51:]),
    "a sum": (b"rows", chunk(3, 1, 1), lambda value: value[:23] + bytes([value[23] ^ 1]) + value[24:]),
    "a chunk cut short": (b"rows", chunk(3, 0, 1), lambda value: value[:-40]),
    "a chunk that is gone": (b"rows", chunk(3, 1, 1), lambda value: None),
    "the place in its ring": (b"users", (3).to_bytes(8, "big"), lambda value: b"\x05" + value[1:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_user_whose_bytes_are_wrong_is_named_not_read_and_begins_anew(damage: str, tmp_path: Path) -> None:
    store, plain = LmdbStore(tmp_path, LAYOUT), PlainStore()
    given = [(user, 0, list(range(100)), 0, user) for user in (1, 3, 5)]
    store.append(rows_of(given), 0)
    store.close()
    changed(tmp_path, *DAMAGES[damage])
    plain.append([one for one in given if one[0] != 3], 0)
    store = LmdbStore(tmp_path, LAYOUT)
    keys = np.array([1, 3, 5], np.uint64)
    store.read_facts(keys, 1000, np.full(3, 30))
    store.read_states(keys, np.full(3, 40), np.full(3, 60))
    assert store.damaged == {3}
    assert_same(store, plain, [1, 3, 5])
    # A trainer that had read the user before goes on from there; nothing of it is kept.
    more = [(1, 100, [7], 0, 9), (3, 100, [7], 0, 9)]
    store.append(rows_of(more), 1)
    plain.append(more[:1], 1)
    assert_same(store, plain, [1, 3, 5])
    anew = [(3, 0, [4, 4], 0, 11)]
    store.append(replace(rows_of(anew), forgotten=keys[1:2]), 2)
    plain.append(anew, 2)
    assert store.damaged == set()
    assert_same(store, plain, [1, 3, 5])
    store.close()


def test_another_users_chunk_in_ones_own_place_is_wrong(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, LAYOUT)
    store.append(rows_of([(user, 0, [9] * 64, 0, user) for user in (1, 3)]), 0)
    store.close()
    with lmdb.open(str(tmp_path / "00000000"), max_dbs=3) as env:
        rows = env.open_db(b"rows")
        with env.begin(write=True, db=rows) as txn:
            txn.put(chunk(3, 1, 0), txn.get(chunk(1, 1, 0)))
    store = LmdbStore(tmp_path, LAYOUT, readonly=True)
    _, there = store.read_states(np.array([1, 3], np.uint64), np.zeros(2, np.int64), np.full(2, 64))
    assert store.damaged == {3} and there.tolist() == [True] * 64 + [False] * 64
    store.close()


def test_a_generation_takes_over_beside_its_readers_and_drops_what_was_forgotten(tmp_path: Path) -> None:
    secret = 0xFEEDFACECAFEBEEF
    store = LmdbStore(tmp_path, LAYOUT)
    store.append(rows_of([*given_at(0), (secret, 0, [1] * 70, 0, 0)]), 0)
    store.forget(np.array([secret], np.uint64))
    reader = LmdbStore(tmp_path, LAYOUT, readonly=True)
    marks = [secret.to_bytes(8, "big"), secret.to_bytes(8, "little")]
    file = tmp_path / "00000000" / "data.mdb"
    assert any(mark in file.read_bytes() for mark in marks)
    fresh = LmdbStore(tmp_path, LAYOUT, generation=generations.beside(tmp_path))
    store.copy_rows(fresh)
    fresh.take_over(0)
    assert not file.exists()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or not any(mark in path.read_bytes() for mark in marks)
    for one in (reader, fresh):
        check_whole(one, 0)
        one.close()
    store.close()
    again = LmdbStore(tmp_path, LAYOUT, readonly=True)
    assert again.generation == "00000001"
    check_whole(again, 0)
    again.close()


def test_a_full_map_grows_and_no_row_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MAP_BYTES", 1 << 17)
    store, plain = LmdbStore(tmp_path, LAYOUT), PlainStore()
    for cut in range(4):
        given = [(user, 0, [cut] * 60, 0, cut) for user in range(200 * cut, 200 * cut + 200)]
        store.append(rows_of(given), cut)
        plain.append(given, cut)
    assert_same(store, plain, [0, 199, 799, 800])
    store.close()


def test_a_refused_write_is_a_disk_error_and_leaves_what_was_there(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, LAYOUT)
    store.append(rows_of(given_at(0)), 0)
    size = (tmp_path / "00000000" / "data.mdb").stat().st_size
    held = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, held[1]))
    try:
        with pytest.raises(DiskError, match=r"cannot write \(.*free space or choose a writable folder"):
            store.append(rows_of([(user, 0, [1] * 60, 0, 1) for user in range(100, 300)]), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, held)
    check_whole(store, 0)
    store.append(rows_of(given_at(1)), 1)
    check_whole(store, 1)
    store.close()


def test_a_folder_that_cannot_be_made_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="Not a directory"):
        LmdbStore(tmp_path / "file" / "memory", LAYOUT)


def test_a_folder_without_a_store_cannot_be_read_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no store"):
        LmdbStore(tmp_path / "none", LAYOUT, readonly=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="holds no store"):
        LmdbStore(tmp_path / "empty", LAYOUT, readonly=True)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("00000000")
    (tmp_path / "00000000").mkdir()
    (tmp_path / "00000000" / "data.mdb").write_bytes(b"something else" * 2000)
    with pytest.raises(FolderError, match="damaged or not made by LMDB"):
        LmdbStore(tmp_path, LAYOUT)


def test_one_process_may_open_a_store_several_times(tmp_path: Path) -> None:
    writer, reader = LmdbStore(tmp_path, LAYOUT), LmdbStore(tmp_path, LAYOUT, readonly=True)
    writer.append(rows_of(given_at(0)), 0)
    writer.close()
    writer.close()
    check_whole(reader, 0)
    reader.close()
    again = LmdbStore(tmp_path, LAYOUT, readonly=True)
    with pytest.raises(ValueError, match="opened to read only"):
        again.append(rows_of(given_at(1)), 1)
    with pytest.raises(FolderError, match="open to read only in this process"):
        LmdbStore(tmp_path, LAYOUT)
    again.close()


def test_a_folder_made_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    forgotten = LmdbStore(tmp_path / "memory", LAYOUT)
    forgotten.append(rows_of(given_at(0)), 0)
    shutil.rmtree(tmp_path / "memory")
    fresh = LmdbStore(tmp_path / "memory", LAYOUT)
    assert fresh.last_cut() == -1
    fresh.close()
    forgotten.close()


def test_rows_that_are_no_longer_kept_leave_the_disk(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, LAYOUT)
    for cut in range(200):
        store.append(rows_of([(7, ROWS * cut, [cut] * ROWS, 0, cut)]), cut)
    store.append(rows_of([(7, 600, [], 600, 201)]), 200)
    store.close()
    with lmdb.open(str(tmp_path / "00000000"), max_dbs=3, readonly=True) as env:
        rows = env.open_db(b"rows", create=False)
        with env.begin(db=rows) as txn:
            keys = [(key[8], int.from_bytes(key[9:], "big")) for key, _ in txn.cursor()]
    assert keys == [(0, 7), (0, 8), (0, 9), (1, 9)]


def test_a_closed_store_opens_with_all_it_held(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, LAYOUT)
    for cut in range(30):
        store.append(rows_of(given_at(cut)), cut)
    store.close()
    again = LmdbStore(tmp_path, LAYOUT, readonly=True)
    assert_same(again, plain_at(29), [*USERS, 99])
    assert np.array_equal(np.sort(again.holding().users), np.arange(20))
    again.close()
