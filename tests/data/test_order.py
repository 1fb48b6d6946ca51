import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marm.data.order import UnsortedError, blocks_by_bucket, blocks_in_order, bucket_edges, tie_order

EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), min_size=1, max_size=60)


def frame_of(events):
    time, user = zip(*events, strict=True)
    return pl.DataFrame(
        {"row": range(len(events)), "user": user, "item": user, "time": time},
        schema={"row": pl.Int64, "user": pl.UInt64, "item": pl.UInt64, "time": pl.Int64},
    )


def expected_rows(events):
    """By time, then by the user's first row at that time, then by row: the plain way."""
    first = {}
    for row, key in enumerate(events):
        first.setdefault(key, row)
    return sorted(range(len(events)), key=lambda row: (events[row][0], first[events[row]], row))


def cut(frame, sizes):
    begin = 0
    for size in [*sizes, frame.height]:
        yield frame[begin : begin + size]
        begin += size


def rows_of(blocks):
    return [row for block in blocks for row in block["row"]]


@given(EVENTS, st.lists(st.integers(0, 9), max_size=20))
def test_a_sorted_log_comes_in_order_however_it_is_cut_into_chunks(events, sizes):
    events = sorted(events, key=lambda event: event[0])
    blocks = list(blocks_in_order(cut(frame_of(events), sizes)))
    assert rows_of(blocks) == expected_rows(events)
    times = [set(block["time"]) for block in blocks]
    assert sum(map(len, times)) == len(set().union(*times)), "a time is in two blocks"


@given(EVENTS, st.lists(st.integers(0, 9), max_size=20), st.integers(1, 30))
def test_a_log_in_any_order_comes_in_order_through_buckets(tmp_path_factory, events, sizes, bucket_rows):
    frame = frame_of(events)
    edges = bucket_edges([frame["time"].to_numpy()], bucket_rows)
    folder = tmp_path_factory.mktemp("sort") / "buckets"
    assert rows_of(blocks_by_bucket(cut(frame, sizes), edges, folder)) == expected_rows(events)
    assert not folder.exists()


def test_a_fall_is_told_with_its_row_and_times_also_between_chunks():
    frame = frame_of([(3, 1), (5, 1), (4, 1)])
    for sizes in ([3], [2], [1, 1]):
        with pytest.raises(UnsortedError) as error:
            list(blocks_in_order(cut(frame, sizes)))
        assert (error.value.row, error.value.before, error.value.after) == (2, 5, 4)


def test_without_ties_nothing_moves():
    assert tie_order(np.arange(5), np.ones(5, np.uint64), np.arange(5)) is None


def test_buckets_of_a_large_log_are_about_equal():
    times = np.random.default_rng(0).permutation(3_000_000)
    edges = bucket_edges(np.array_split(times, 7), 250_000)
    sizes = np.diff([0, *edges, 3_000_000])
    assert len(sizes) == 12
    assert sizes.max() < 260_000
