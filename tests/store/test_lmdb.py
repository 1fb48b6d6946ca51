import json
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest

from marm.errors import DiskError, FolderError, LayoutError
from marm.store import Layout, LmdbStore, environment
from tests.store.other_process import LAST, ROWS, USERS, check_whole, given_at, plain_at
from tests.store.rings import LAYOUT, PlainStore, assert_same, rows_of


def other(verb: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.other_process", verb, str(folder)]
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
    with lmdb.open(str(tmp_path), max_dbs=3) as env:
        about = env.open_db(b"about")
        with env.begin(write=True, db=about) as txn:
            txn.put(b"layout", json.dumps({"format": 99}).encode())
    with pytest.raises(FolderError, match="written by another version of marm"):
        LmdbStore(tmp_path, LAYOUT)


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
    size = (tmp_path / "data.mdb").stat().st_size
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
    lmdb.open(str(tmp_path / "empty")).close()
    with pytest.raises(FolderError, match="holds no store"):
        LmdbStore(tmp_path / "empty", LAYOUT, readonly=True)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"something else" * 2000)
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
    with lmdb.open(str(tmp_path), max_dbs=3, readonly=True) as env:
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
