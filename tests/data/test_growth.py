"""A log that grows: parts of any length, made one where there are many; readers see what was there, or what is there now."""

import errno
import math

import polars as pl
import pytest

from marm.data import grow
from marm.data.grow import Grower
from marm.data.joining import Held, Joining
from marm.data.live import LiveLog, Row
from marm.data.order import ordered
from marm.data.place import Position
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.errors import DiskError
from tests.data.logs import START, write_log
from tests.data.logs import run_over as run_over_small
from tests.train.feeding import CONTEXT, OUTCOMES, columns
from tests.train.logs import log_frame, run_over, write_world

TRAINED, ALL = 60, 100


@pytest.fixture
def blocks(tmp_path):
    """The rest of a log in blocks of four; the first part lies prepared in ``events``."""
    whole = log_frame(events=ALL)
    run = run_over(write_world(tmp_path / "world", whole[:TRAINED]))
    prepare(run, tmp_path / "events")
    live, made = LiveLog(run, tmp_path / "events"), []
    for begin in range(TRAINED, ALL, 4):
        rows = [
            Row(
                f"e{begin + n}", row["user"], row["item"], row["time"], {name: row[name] for name in CONTEXT + OUTCOMES}
            )
            for n, row in enumerate(whole[begin : begin + 4].iter_rows(named=True))
        ]
        frame, dropped = live.convert(live.served(rows, refuse), begin, refuse)
        assert dropped == 0
        made.append(ordered(frame))
    return made


def refuse(row, reason):
    raise AssertionError((row, reason))


def at(number):
    return {"settled": Position(1, number), "read": Position(1, number + 15)}


def test_steps_end_with_parts_and_places_in_the_inbox_go_with_them(blocks, tmp_path):
    grower = Grower(tmp_path / "events")
    old = EventLog(tmp_path / "events")
    for number, block in enumerate(blocks[:3]):
        grower.append([block], at(10 * (number + 1)))
    log = EventLog(tmp_path / "events")
    assert (len(old), len(log)) == (60, 72)
    old.refresh()
    assert columns(old, 0, 72) == columns(log, 0, 72)
    assert [log.step_end(n) for n in (0, 59, 60, 63, 64, 71)] == [60, 60, 64, 64, 68, 72]
    assert [log.settled(n).offset for n in (0, 60, 63, 64, 69, 72)] == [0, 0, 0, 10, 20, 30]
    assert log.ids_beyond(60) == []
    # The part up to 64 was read up to 25: beyond 20, where the inbox is settled at 68.
    assert log.ids_beyond(64) == [f"e{n}" for n in blocks[0]["row"].to_list()]
    assert log.ids_beyond(69)[:4] == log.event_ids(9, 69)[:4]
    grower.close()


def test_many_small_parts_become_one_and_nothing_else_changes(blocks, tmp_path, monkeypatch):
    monkeypatch.setattr(grow, "MERGE_AT", 4)
    grower = Grower(tmp_path / "events")
    for number, block in enumerate(blocks):
        grower.append([block], at(10 * (number + 1)))
    old = EventLog(tmp_path / "events")
    before, ids = columns(old, 0, ALL), old.event_ids(1000)
    grower.merge(before=TRAINED + 22)
    log = EventLog(tmp_path / "events")
    assert [part.end for part in log.manifest.growth.parts] == [80, 84, 88, 92, 96, 100]
    assert columns(log, 0, ALL) == before
    assert log.event_ids(1000) == ids
    assert log.settled(80) == Position(1, 50)
    # A reader that opened it before the merge goes on with what it knows.
    assert columns(EventLog(tmp_path / "events"), 0, ALL) == columns(old, 0, ALL)
    grower.merge(before=ALL)
    assert [part.end for part in EventLog(tmp_path / "events").manifest.growth.parts] == [100]
    grower.close()
    Grower(tmp_path / "events").close()
    assert len(list((tmp_path / "events").glob("events-*"))) == 1


def test_a_full_disk_leaves_the_log_as_it_was(blocks, tmp_path, monkeypatch):
    grower = Grower(tmp_path / "events")
    grower.append(blocks[:1], at(10))
    real, calls = grow.write_durable, []

    def full(block, path):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(block, path)

    with monkeypatch.context() as patch:
        patch.setattr(grow, "write_durable", full)
        with pytest.raises(DiskError, match="No space left"):
            grower.append(blocks[1:3], at(20))
    assert len(EventLog(tmp_path / "events")) == 64
    grower.append(blocks[1:2], at(20))
    assert len(EventLog(tmp_path / "events")) == 68
    grower.close()


def held(event_id, time, heard):
    return Held(Row(event_id, "u", "i", time, {}), {}, time, heard, Position(1, int(heard * 10)))


def ready(joining, now):
    return [event.row.event_id for event in joining.ready(now)]


def test_events_leave_in_order_of_their_time_once_their_wait_is_over():
    joining = Joining(10, 0, 100, [])
    for event in (held("b", 20, 1.0), held("a", 10, 5.0), held("c", 30, 2.0)):
        assert joining.hold(event) is None
    assert ready(joining, 10.9) == []
    # b has waited, but a, which was before it, has not.
    assert ready(joining, 12) == []
    assert ready(joining, 15) == ["b", "a", "c"]
    assert joining.settled(Position(9, 9)) == Position(1, 10)


def test_an_event_waits_for_an_earlier_one_as_long_again_at_most():
    joining = Joining(10, 0, 100, [])
    joining.hold(held("b", 20, 1.0))
    joining.hold(held("a", 10, 20.0))
    joining.hold(held("c", 30, 20.0))
    assert ready(joining, 20.9) == []
    assert ready(joining, 21) == ["b", "a"]
    joining.release(joining.ready(21))
    assert joining.hold(held("d", 19, 22.0)) == "late"
    assert joining.hold(held("e", 20, 22.0)) is None
    assert (joining.join("a", {}), joining.join("c", {}), joining.join("z", {})) == ("after", None, "unknown")


def test_only_so_many_ids_are_kept():
    joining = Joining(0, 0, 2, ["x", "y"])
    joining.hold(held("z", 1, 0.0))
    joining.release(joining.ready(1))
    assert joining.hold(held("y", 2, 1.0)) == "duplicate"
    assert joining.hold(held("x", 2, 1.0)) is None


def test_rows_of_a_file_whose_user_is_nan_are_dropped_as_those_of_the_log_were(tmp_path):
    write_log(tmp_path, user=[math.nan, 2.0, 1.0, 2.0])
    run = run_over_small(tmp_path, data={"where": '"user" IS NOT NULL'})
    prepare(run, tmp_path / "events")
    live, refused = LiveLog(run, tmp_path / "events"), []
    later = pl.DataFrame({"user": [3.0, math.nan], "item": [7, 8], "time": [START + 5, START + 6], "click": [1, 0]})
    block, dropped = live.convert(live.filed(later, "later.parquet"), 4, lambda *row: refused.append(row))
    assert (block["row"].to_list(), dropped, refused) == ([4], 1, [])
