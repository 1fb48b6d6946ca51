import errno
import os

import numpy as np
import pytest

from marm.errors import DiskError
from marm.metrics import Spool


def columns(first, count, tasks=2):
    number = np.arange(first, first + count, dtype=np.int64)
    wide = np.arange(count * tasks, dtype=np.float32).reshape(count, tasks) + first
    return number, number.astype(np.uint64) + np.uint64(2**63), number * 2, number % 2 == 1, wide, -wide


def test_what_was_appended_is_read_back(tmp_path):
    with Spool(tmp_path / "spool", ["click", "like"]) as spool:
        spool.append(*columns(0, 3))
        spool.append(*columns(3, 4))
        assert (len(spool), spool.flush()) == (7, 7)
        records = spool.read(3, 7)
    names = ("number", "user", "item_number", "drawn", "scores", "labels")
    for name, column in zip(names, columns(3, 4), strict=True):
        np.testing.assert_array_equal(records[name], column)


def test_a_record_lies_in_the_file_as_drawn(tmp_path):
    spool = Spool(tmp_path / "spool", ["click"])
    one = np.array([1.5], np.float32)
    spool.append(np.array([5]), np.array([2**64 - 1], np.uint64), np.array([-1]), np.array([True]), one[:, None], -one)
    spool.close()
    wanted = b"\x05" + b"\0" * 7 + b"\xff" * 16 + b"\x01" + b"\0" * 7 + b"\0\0\xc0\x3f" + b"\0\0\xc0\xbf"
    assert (tmp_path / "spool").read_bytes() == wanted


def test_a_spool_cut_short_goes_on_where_it_was_cut(tmp_path):
    spool = Spool(tmp_path / "spool", ["click", "like"])
    spool.append(*columns(0, 5))
    spool.truncate(2)
    spool.append(*columns(9, 1))
    np.testing.assert_array_equal(spool.read(0, 3)["number"], [0, 1, 9])
    spool.close()
    assert len(Spool(tmp_path / "spool", ["click", "like"])) == 3


def test_a_torn_record_at_the_end_is_not_counted_and_overwritten(tmp_path):
    path = tmp_path / "spool"
    with Spool(path, ["click", "like"]) as spool:
        spool.append(*columns(0, 2))
    with path.open("ab") as file:
        file.write(b"torn")
    with Spool(path, ["click", "like"]) as spool:
        assert len(spool) == 2
        spool.append(*columns(2, 2))
        np.testing.assert_array_equal(spool.read(0, 4)["number"], [0, 1, 2, 3])
    assert path.stat().st_size == 4 * 48


def test_an_empty_range_is_an_empty_array(tmp_path):
    spool = Spool(tmp_path / "spool", ["click"])
    assert len(spool.read(0, 0)) == 0
    with pytest.raises(AssertionError, match="holds 0 records"):
        spool.read(0, 1)


def test_a_folder_that_is_gone_is_disk_trouble(tmp_path):
    spool = Spool(tmp_path / "gone" / "spool", ["click", "like"])
    with pytest.raises(DiskError, match="cannot write"):
        spool.append(*columns(0, 1))


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    with Spool(tmp_path / "spool", ["click", "like"]) as spool:
        spool.append(*columns(0, 2))
        monkeypatch.setattr(spool, "_file", FullAfter(spool._file, 30))
        with pytest.raises(DiskError, match="No space left"):
            spool.append(*columns(2, 2))
        monkeypatch.undo()
        assert len(spool) == 2
        spool.append(*columns(7, 1))
        np.testing.assert_array_equal(spool.read(0, 3)["number"], [0, 1, 7])


class FullAfter:
    """A file on a disk that has room for some bytes more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def seek(self, to):
        self.file.seek(to)

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.file.write(data[: self.room])
        self.room -= written
        return written
