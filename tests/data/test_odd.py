"""Columns as nobody expects them, in a log, in its ids and times, and in a file beside it."""

import math
import tempfile
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.config import load_run
from marm.data.init import init
from marm.data.prepare import prepare
from marm.data.validate import validate
from marm.errors import MarmError
from tests.data.logs import START, write

ROWS = 60
HUGE = 2**63 - 1
VALUES = {
    pl.Null(): [],
    pl.Boolean(): [True, False],
    pl.Int8(): [-128, 0, 1, 2, 5, 127],
    pl.Int64(): [-HUGE, -1, 0, 1, 5, 20200101, START, HUGE],
    pl.UInt64(): [0, 1, 2, 2**64 - 1],
    pl.Int128(): [-(2**100), 0, 1, 2**100],
    pl.Float32(): [math.nan, math.inf, 0.0, 1.0, 2.5],
    pl.Float64(): [math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 1.0, 2.0, 4.5, 1e9, 1.6e9, 1e18, 1e308],
    pl.Decimal(20, 2): [Decimal(0), Decimal(1), Decimal("-2.50"), Decimal(10**16)],
    pl.String(): [
        "", " ", "a", "yes", "no", "NA", "a|b", "[1, 2]", "x,y", '"\n\\', "\x00", "2020-01-01", "31/12/2020", "7", "1e400", "é",
    ],
    pl.Categorical(): ["", "a", "b", "view", "click"],
    pl.Enum(["view", "click", "NA", ""]): ["view", "click", "NA", ""],
    pl.Binary(): [b"", b"a", b"\xff"],
    pl.Date(): [date(1, 1, 1), date(2020, 1, 1), date(9999, 12, 31)],
    pl.Datetime("us"): [datetime(1, 1, 1), datetime(2020, 1, 1), datetime(9999, 12, 31)],
    pl.Datetime("ns", "UTC"): [datetime(1970, 1, 1), datetime(2020, 1, 1), datetime(2200, 1, 1)],
    pl.Duration("us"): [timedelta(0), timedelta(seconds=5), timedelta(days=-1), timedelta(days=10**6)],
    pl.Time(): [time(0), time(23, 59)],
    pl.Struct({"click": pl.Int64(), "of": pl.List(pl.String())}): [{"click": 1, "of": ["a"]}, {"click": None, "of": None}],
    pl.List(pl.Int64()): [[], [1], [1, None], [1, 2, 3]],
    pl.List(pl.Float64()): [[], [1.0], [None, 2.0], [math.nan, 1.0], [1.0, 2.0], [1e300, 0.0]],
    pl.List(pl.String()): [[], ["a"], ["a", None], [""]],
    pl.List(pl.Struct({"id": pl.Int64()})): [[], [{"id": 1}]],
    pl.List(pl.List(pl.Int64())): [[], [[1], None]],
    pl.List(pl.Boolean()): [[True], [None]],
    pl.List(pl.Binary()): [[b"a"], []],
    pl.Array(pl.Float32(), 2): [[1.0, 2.0], [math.nan, 0.0], [None, 1.0]],
    pl.Array(pl.String(), 1): [["a"], [None]],
}  # fmt: skip
"""Values of each type, null aside."""
NAMES = [
    "liked", "is_click", "rating", "event_type", "action", "watch_time", "watch_time_ms", "duration", "play_ratio", "count",
    "category", "tags", "embedding", "age", "country", "position", "page", "date", "created_at", "session_id",
    "item_ids_inview", 'a.b"c', "",
]  # fmt: skip
SOUND = {
    "user_id": [at % 7 for at in range(ROWS)],
    "item_id": [at % 20 for at in range(ROWS)],
    "timestamp": [START + at for at in range(ROWS)],
    "click": [at % 3 % 2 for at in range(ROWS)],
}


@st.composite
def odd(draw):
    """A column of one of the types, of up to four values that come again and again."""
    dtype = draw(st.sampled_from(list(VALUES)))
    values = draw(st.lists(st.sampled_from([None, *VALUES[dtype]]), min_size=1, max_size=4))
    return pl.Series((values * ROWS)[:ROWS], dtype=dtype)


@st.composite
def odd_role(draw):
    """A column of ids or times that is odd on some rows, or on all of them."""
    name, other = draw(st.sampled_from(["user_id", "item_id", "timestamp"])), draw(odd())
    if not (other.dtype.is_numeric() or other.dtype == pl.String):
        return {name: other}
    here = pl.int_range(ROWS) % draw(st.integers(1, 9)) == 0
    fine = pl.Series(SOUND[name]).cast(other.dtype, strict=False)
    return {name: pl.select(pl.when(here).then(other).otherwise(fine)).to_series()}


def some(*names):
    return st.dictionaries(st.sampled_from(names), odd(), min_size=2, max_size=8)


@settings(max_examples=60)
@given(some(*NAMES), st.one_of(st.just({}), st.just({}), odd_role()), some("item_id", *NAMES))
def test_a_first_look_at_odd_columns_ends_well_or_in_one_line(more, role, beside):
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder) / "log.parquet", Path(folder) / "run.toml"
        write(pl.DataFrame({**SOUND, **more, **role}), log)
        write(pl.DataFrame({"item_id": pl.Series(range(ROWS)), **beside}), Path(folder) / "items.parquet")
        try:
            init(log, out)
            run = load_run(out)
            report = validate(run)
            prepare(run, Path(folder) / "events")
        except MarmError as error:
            assert "\n" not in str(error)
        else:
            assert report.ok
