from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from marm.data import plan
from marm.data.arrow import map_batch, write_batch
from marm.data.events import Tags
from marm.data.ids import hash_text
from marm.data.stream import EventLog
from marm.errors import DataError, FolderError
from tests.data.logs import START, prepared, run_over, write

ROWS = 2500


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A stream of five parts, with a column of every kind."""
    folder = tmp_path_factory.mktemp("stream")
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 30, ROWS),
            "item": [f"item-{n}" for n in rng.integers(0, 200, ROWS)],
            "time": START + np.arange(ROWS),
            "click": rng.integers(0, 2, ROWS),
            "page": rng.integers(0, 5, ROWS),
            "tags": [["a", "b", "c"][: n % 4] for n in range(ROWS)],
            "vec": rng.random((ROWS, 3)),
            "age": rng.random(ROWS),
        }
    )
    write(frame, folder / "log.parquet")
    context = {"page": "category", "tags": "tags", "vec": "vector", "age": "number"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan.Plan, "part_rows", lambda self: 512)
        return prepared(folder, run_over(folder, features={"context": context})), frame


def same(one, other):
    if isinstance(one, Tags):
        return (one.values == other.values).all() and (one.offsets == other.offsets).all()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return np.array_equal(one, other)


def sliced(column, lo, hi):
    if isinstance(column, Tags):
        return column.take(np.arange(lo, hi))
    return {key: sliced(value, lo, hi) for key, value in column.items()} if isinstance(column, dict) else column[lo:hi]


@pytest.mark.parametrize(("lo", "hi"), [(0, 512), (3, 9), (500, 530), (100, 2100), (2499, 2500), (7, 7), (2500, 2500)])
def test_any_range_equals_the_same_slice_of_the_whole(log, lo, hi):
    whole, part = log[0].read(0, ROWS), log[0].read(lo, hi)
    assert (part.start, len(part)) == (lo, hi - lo)
    for field in fields(part)[1:]:
        assert same(getattr(part, field.name), sliced(getattr(whole, field.name), lo, hi)), field.name


def test_a_range_of_one_part_is_a_view_and_cannot_be_written_to(log):
    part = log[0].read(10, 20)
    assert part.user.base is not None
    with pytest.raises(ValueError, match="read-only"):
        part.user[0] = 1


def test_originals_are_the_logs_own_columns(log):
    stream, frame = log
    assert stream.originals(500, 530).drop("row").equals(frame[500:530].select("user", "item", "time"))


def test_items_are_found_by_event_number_in_any_order(log):
    stream, frame = log
    numbers = np.array([2400, 3, 700, 3, 1600])
    assert stream.item_originals(numbers).to_list() == frame["item"].gather(numbers).to_list()
    assert (stream.item_hashes(numbers) == hash_text(frame["item"].gather(numbers))).all()
    assert (stream.item_hashes(numbers[1:2]) == hash_text(frame["item"].gather([3]))).all()
    assert len(stream.item_originals(numbers[:0])) == len(stream.item_hashes(numbers[:0])) == 0


def test_a_range_beyond_the_stream_is_refused(log):
    with pytest.raises(IndexError, match="of a stream of 2500"):
        log[0].read(2400, 2501)


def test_a_folder_that_was_not_prepared_is_refused(tmp_path):
    with pytest.raises(FolderError, match="no prepared events"):
        EventLog(tmp_path)


def test_a_mapped_batch_equals_what_polars_reads_and_stops_at_text(tmp_path):
    frame = pl.DataFrame(
        {
            "a": pl.Series([1, 2, 3], dtype=pl.Int64),
            "b": pl.Series([[1.0, 2.0]] * 3, dtype=pl.Array(pl.Float32, 2)),
            "c": pl.Series([[1], [], [2, 3]], dtype=pl.List(pl.UInt64)),
            "d": pl.Series([1, 0, 1], dtype=pl.UInt8),
            "e": ["x", "y", "z"],
            "f": pl.Series([1, 2, 3], dtype=pl.Int64),
        }
    )
    path = tmp_path / "batch.arrow"
    write_batch(frame, path)
    columns = map_batch(path)
    assert list(columns) == ["a", "b", "c", "d"]
    assert columns["b"].tolist() == [[1, 2]] * 3
    assert (columns["c"].values.tolist(), columns["c"].offsets.tolist()) == ([1, 2, 3], [0, 1, 1, 3])
    assert columns["d"].tolist() == [1, 0, 1]


def test_a_part_cut_short_is_refused(tmp_path):
    path = tmp_path / "batch.arrow"
    write_batch(pl.DataFrame({"a": [1, 2]}), path)
    schema_survives = path.read_bytes()[:-4] + b"LATE"
    path.write_bytes(schema_survives)
    with pytest.raises(DataError, match="not a whole Arrow file"):
        map_batch(path)
