"""Feedback once taken is there; what was not taken is never seen; readers go on while one process writes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from marm.data import inbox
from marm.data.inbox import InboxWriter, begin_of, end_of, inbox_file, read, trim
from marm.data.place import Position
from marm.errors import DiskError, FolderError


def lines(begin: int, end: int) -> list[bytes]:
    return [json.dumps({"kind": "event", "event_id": n}).encode() for n in range(begin, end)]


def everything(folder: Path, limit: int = 50) -> list[bytes]:
    found, since = [], Position()
    while True:
        some, since = read(folder, since, limit)
        if not some:
            return found
        found += some


def test_lines_come_back_whole_and_in_order(tmp_path):
    writer = InboxWriter(tmp_path)
    first = writer.append(lines(0, 3))
    last = writer.append(lines(3, 9))
    assert everything(tmp_path) == lines(0, 9)
    assert read(tmp_path, first) == (lines(3, 9), last)
    assert read(tmp_path, last) == ([], last)
    assert writer.append([]) == last == end_of(tmp_path)
    writer.close()


def test_places_compare_as_they_were_written_and_are_pairs_in_json():
    assert Position(1, 90) < Position(2, 0) < Position(2, 1)
    assert Position(*json.loads(json.dumps(Position(2, 7)))) == Position(2, 7)


def test_a_folder_without_inbox_is_an_empty_one(tmp_path):
    assert read(tmp_path / "inbox", Position()) == ([], Position())


def test_a_line_longer_than_the_limit_comes_whole(tmp_path):
    writer = InboxWriter(tmp_path)
    writer.append([b"x" * 1000, b"y" * 100])
    assert read(tmp_path, Position(), 16)[0] == [b"x" * 1000]
    writer.close()


def test_a_line_break_within_a_line_is_refused(tmp_path):
    writer = InboxWriter(tmp_path)
    with pytest.raises(ValueError):
        writer.append([b"{}\n{}"])
    assert everything(tmp_path) == []
    writer.close()


def test_files_rotate_and_reading_goes_over_their_edges(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox, "ROTATE_AT", 100)
    writer = InboxWriter(tmp_path)
    for n in range(20):
        writer.append(lines(n, n + 1))
    assert writer.end.file > 4
    assert all(path.stat().st_size <= 100 for path in tmp_path.glob("*.ndjson"))
    assert everything(tmp_path, 30) == lines(0, 20)
    writer.close()
    again = InboxWriter(tmp_path)
    again.append(lines(20, 21))
    assert everything(tmp_path) == lines(0, 21)
    again.close()


@pytest.mark.parametrize("limit", [2**22, 8])
def test_a_half_written_last_line_is_cut_off_on_opening(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(inbox, "READ_BYTES", limit)
    writer = InboxWriter(tmp_path)
    end = writer.append(lines(0, 4))
    writer.close()
    with inbox_file(tmp_path, 1).open("ab") as file:
        file.write(b'{"kind": "event", "event_id"')
    assert everything(tmp_path) == lines(0, 4)
    again = InboxWriter(tmp_path)
    assert again.end == end
    again.append(lines(4, 5))
    assert everything(tmp_path) == lines(0, 5)
    again.close()


def test_lines_that_were_written_when_the_process_died_are_kept(tmp_path):
    writer = InboxWriter(tmp_path)
    writer.append(lines(0, 2))
    writer.close()
    with inbox_file(tmp_path, 1).open("ab") as file:
        file.write(lines(2, 3)[0] + b"\n")
    assert everything(tmp_path) == lines(0, 2)
    InboxWriter(tmp_path).close()
    assert everything(tmp_path) == lines(0, 3)


def test_writers_go_on_where_the_other_ended_over_the_edges_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox, "ROTATE_AT", 100)
    one, other = InboxWriter(tmp_path), InboxWriter(tmp_path)
    for n in range(20):
        writer = (one, other)[n // 3 % 2]
        writer.append(lines(n, n + 1))
        assert end_of(tmp_path) == writer.end
    assert everything(tmp_path) == lines(0, 20) and one.end.file > 4
    with other.turn():
        assert one.end == other.end
    one.close()
    other.close()


def test_who_waits_for_a_turn_that_does_not_end_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox, "PATIENCE", 0.01)
    one, other = InboxWriter(tmp_path), InboxWriter(tmp_path)
    with one.turn():
        one.append(lines(0, 1))  # a turn within a turn is the same one
        with pytest.raises(FolderError, match="end the server that hangs"):
            other.append(lines(1, 2))
    other.append(lines(1, 2))
    assert everything(tmp_path) == lines(0, 2)
    one.close()
    other.close()


def test_what_a_writer_left_that_died_is_kept_whole_and_half_lines_are_cut_by_the_next(tmp_path):
    writer = InboxWriter(tmp_path)
    writer.append(lines(0, 2))
    with inbox_file(tmp_path, 1).open("ab") as file:
        file.write(lines(2, 3)[0] + b'\n{"kind": "event", "event_id"')
    assert everything(tmp_path) == lines(0, 2)
    writer.append(lines(3, 4))
    assert everything(tmp_path) == lines(0, 4)
    writer.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_full_disk_takes_back_what_it_wrote(tmp_path, monkeypatch, call):
    writer = InboxWriter(tmp_path)
    end = writer.append(lines(0, 3))
    real = getattr(os, call)
    calls = 0

    def full(handle, *more):
        nonlocal calls
        calls += 1
        if call == "pwrite" and calls == 1:
            return real(handle, more[0][:40], more[1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(DiskError, match="No space left"):
        writer.append(lines(3, 9))
    monkeypatch.undo()
    assert inbox_file(tmp_path, 1).stat().st_size == end.offset
    assert everything(tmp_path) == lines(0, 3)
    writer.append(lines(9, 10))
    assert everything(tmp_path) == lines(0, 3) + lines(9, 10)
    writer.close()


def test_what_could_not_be_taken_back_is_not_seen_and_goes_at_the_next_append(tmp_path, monkeypatch):
    writer = InboxWriter(tmp_path)
    writer.append(lines(0, 3))

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        patch.setattr(os, "ftruncate", broken)
        with pytest.raises(DiskError):
            writer.append(lines(3, 9))
        assert everything(tmp_path) == lines(0, 3)
        with pytest.raises(DiskError):
            writer.append(lines(3, 9))
    writer.append(lines(9, 10))
    assert everything(tmp_path) == lines(0, 3) + lines(9, 10)
    writer.close()


WRITER = """
import sys
from pathlib import Path
from marm.data import inbox
inbox.ROTATE_AT = 2000
writer = inbox.InboxWriter(Path(sys.argv[1]))
for n in range(0, 1500, 3):
    writer.append([b'{"who": %s, "n": %d}' % (sys.argv[2].encode(), m) for m in range(n, n + 3)])
"""


def test_readers_see_whole_batches_while_two_processes_write_in_turn(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(who)]) for who in range(2)]
    found, since, counts = [], Position(), set()
    while any(one.poll() is None for one in writers) or since < end_of(tmp_path):
        some, since = read(tmp_path, since)
        found += map(json.loads, some)
        counts.add(len(found) % 3)
    assert [one.returncode for one in writers] == [0, 0]
    who = [one["who"] for one in found]
    for writer in range(2):
        assert [one["n"] for one in found if one["who"] == writer] == list(range(1500))
    assert counts == {0} and who != sorted(who)


def test_old_files_go_from_the_oldest_on_but_none_that_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox, "ROTATE_AT", 100)
    writer = InboxWriter(tmp_path)
    for n in range(12):
        writer.append(lines(n, n + 1))
    last, names = writer.end.file, sorted(path.name for path in tmp_path.glob("*.ndjson"))
    now = inbox_file(tmp_path, 1).stat().st_mtime + 50
    assert trim(tmp_path, Position(last, 0), 100, now) == 0
    assert trim(tmp_path, Position(1, 90), 0, now) == 0
    assert trim(tmp_path, Position(3, 0), 10, now) == 2
    assert sorted(path.name for path in tmp_path.glob("*.ndjson")) == names[2:]
    os.utime(inbox_file(tmp_path, 4), (now, now))
    assert trim(tmp_path, writer.end, 10, now) == 1
    assert begin_of(tmp_path) == Position(4, 0)
    assert trim(tmp_path, Position(last + 5, 0), 0, now) == last - 4
    assert begin_of(tmp_path) == Position(last, 0)
    writer.append(lines(12, 13))
    writer.close()
    assert begin_of(tmp_path / "none") == Position(1, 0)
