from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from marm.data.times import (
    Clock,
    clock_named,
    clock_of,
    doubtful,
    form_micros,
    in_form,
    iso,
    seconds_to_micros,
    to_micros,
)
from marm.data.trouble import Chunk, Places, TroubleError

MICROS = 1_704_103_200_000_000  # 2024-01-01T10:00:00Z


def chunk_of(series):
    return Chunk(pl.DataFrame({"t": series}), np.arange(len(series)), Places(["log.csv"], [0]))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (MICROS // 1_000_000, "seconds"),
        (MICROS / 1_000_000, "seconds"),
        (MICROS // 1000, "milliseconds"),
        (MICROS, "microseconds"),
        (MICROS * 1000 + 999, "nanoseconds"),
        (float(MICROS * 1000), "nanoseconds"),
        (str(MICROS // 1000), "milliseconds"),
        (datetime(2024, 1, 1, 10), "datetimes"),
        ("2024-01-01T10:00:00Z", "ISO text"),
        ("2024-01-01 12:00:00.000+02:00", "ISO text"),
        ("2024-01-01 10:00", "ISO text"),
        ("2024-01-01 10", "ISO text"),
        ("20240101T100000Z", "ISO text"),
        ("Mon Jan  1 10:00:00 2024", "ISO text"),
        ("01/Jan/2024:12:00:00 +0200", "ISO text"),
        ("01-Jan-2024 10:00:00", "ISO text"),
    ],
)
def test_a_time_is_recognised_however_it_is_written(value, says):
    series = pl.Series("t", [value])
    clock = clock_of(series, "auto")
    micros, good, troubles = to_micros(chunk_of(series), clock)
    assert (clock.says(), micros.tolist(), good.tolist(), troubles) == (says, [MICROS], [True], [])


def test_a_date_is_its_midnight_and_a_zone_counts():
    zoned = pl.Series("t", [datetime(2024, 1, 1, 11)]).dt.replace_time_zone("Europe/Paris")
    assert to_micros(chunk_of(zoned), clock_of(zoned, "auto"))[0].tolist() == [MICROS]
    day = pl.Series("t", [date(2024, 1, 1)])
    assert iso(int(to_micros(chunk_of(day), clock_of(day, "auto"))[0][0])) == "2024-01-01T00:00:00"


def test_the_unit_comes_from_the_first_value_alone_and_a_set_one_wins():
    series = pl.Series("t", [99_999_999_999, 10**15])
    assert clock_of(series[:1], "auto").unit == "s"
    assert clock_of(series[1:], "auto").unit == "us"
    assert clock_of(series, "ms") == Clock("t", "ms")


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("1/1/2024 10:00", "%d/%m/%Y %H:%M"),
        (" 01.01.24 10:00:00.00", "%d.%m.%y %H:%M:%S%.f"),
        ("01/01/2024 11:00+0100", "%d/%m/%Y %H:%M%z"),
        (20240101, "%Y%m%d"),
        (2024010110, "%Y%m%d%H"),
        ("1 Jan 2024, 10 AM", "%d %b %Y, %I %p"),
    ],
)
def test_times_are_read_in_the_form_that_is_said(value, form):
    series = pl.Series("t", [value])
    clock = clock_of(series, "auto", form)
    whole_day = 86_400_000_000
    assert to_micros(chunk_of(series), clock)[0].tolist() == [MICROS - (form == "%Y%m%d") * MICROS % whole_day]
    assert clock_named("t", clock.says()) == clock


def test_a_form_gives_back_what_it_read():
    for form in ("%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%y %H:%M:%S%.f %z", "%y%m%d%H"):
        assert form_micros(pl.Series([in_form(MICROS, form)]), form).to_list() == [MICROS]


def test_a_time_in_another_form_is_named_with_a_remedy():
    text = pl.Series("t", ["31/12/2020 10:00", "2020-12-31"])
    _, good, troubles = to_micros(chunk_of(text), clock_of(text, "auto", "%d/%m/%Y %H:%M"))
    assert good.tolist() == [True, False]
    assert str(troubles[0]) == (
        "log.csv row 2: t = '2020-12-31' is not text as %d/%m/%Y %H:%M: mend data.time_format, "
        "or leave such rows out with data.where"
    )
    with pytest.raises(
        TroubleError, match=r"data\.time_format: column t is a Float64: it is for text and whole numbers"
    ):
        clock_of(pl.Series("t", [1.5]), "auto", "%d")


WITH = ["2024-01-01T10:00:00Z", "2024-01-01 12:00+02:00", "20240101T100000-0500", "01/Jan/2024:12:00:00 +0200",
        "Mon Jan 01 10:00:00 +0000 2024", "Mon, 01 Jan 2024 10:00:00 GMT", "2024-01-01 10:00:00 utc "]  # fmt: skip
WITHOUT = ["2024-01-01T10:00:00", "2024-01-01", "2024-01-01 10", "2024/1/1 10:00", "11/15/2019 8:55:22 AM", "20240101T100000",
           "Mon Jan  1 10:00:00 2024", "01-Jan-2024 10:00:00"]  # fmt: skip


@pytest.mark.parametrize(("some", "others", "says"), [
    (WITH, WITHOUT, "has no offset from UTC, unlike the first time"),
    (WITHOUT, WITH, "has an offset from UTC, unlike the first time"),
])  # fmt: skip
def test_times_with_and_without_an_offset_are_never_mixed(some, others, says):
    alike = pl.Series("t", some)
    _, good, troubles = to_micros(chunk_of(alike), clock_of(alike, "auto"))
    assert (good.all(), troubles) == (True, [])
    for other in others:
        both = pl.Series("t", [None, *some, other])
        _, good, troubles = to_micros(chunk_of(both), clock_of(both[1:], "auto"))
        assert good.tolist() == [False, *[True] * len(some), False]
        row = len(some) + 2
        assert str(troubles[1]) == (
            f"log.csv row {row}: t = {other!r} {says}: write all times with an offset from UTC, as +08:00, or all without"
        )


def test_floats_of_seconds_keep_their_microseconds():
    series = pl.Series("t", [1_600_000_000.25])
    assert to_micros(chunk_of(series), Clock("t", "s"))[0].tolist() == [1_600_000_000_250_000]


def test_null_negative_and_unreadable_times_are_told_apart_and_named():
    _, good, troubles = to_micros(chunk_of(pl.Series("t", [5.0, None, -1.0, float("nan")])), Clock("t", "s"))
    assert good.tolist() == [True, False, False, False]
    assert [trouble.kind for trouble in troubles] == ["null", "negative time"]
    assert "log.csv row 2" in str(troubles[0])
    assert "t IS NOT NULL" in str(troubles[0])
    assert str(troubles[1]) == 'log.csv row 3: t = -1.0 is negative: set data.where = "t >= 0" to leave such rows out'
    text = pl.Series("t", ["2024-01-01", "soon"])
    _, good, troubles = to_micros(chunk_of(text), Clock("t", "text"))
    assert good.tolist() == [True, False]
    assert "log.csv row 2: t = 'soon' is not a time in ISO text" in str(troubles[0])


def test_a_number_of_seconds_beyond_64_bits_is_no_time():
    _, good, troubles = to_micros(chunk_of(pl.Series("t", [1, 2**62])), Clock("t", "s"))
    assert good.tolist() == [True, False]
    assert troubles[0].kind == "unparsable time"


@pytest.mark.parametrize(("dtype", "value"), [(pl.Int128, 2**100), (pl.Int128, -(2**100)), (pl.Int64, -(2**63))])
def test_a_whole_number_beyond_64_bits_or_at_their_end_is_no_time(dtype, value):
    _, good, troubles = to_micros(chunk_of(pl.Series("t", [1, value], dtype=dtype)), Clock("t", "s"))
    assert good.tolist() == [True, False]
    assert troubles[0].kind == "unparsable time"


def test_a_number_that_overflows_when_it_is_scaled_is_no_time_and_no_delay():
    chunk = chunk_of(pl.Series("t", [1.0, 1e308]))
    _, good, troubles = to_micros(chunk, Clock("t", "s"))
    assert good.tolist() == [True, False]
    assert troubles[0].kind == "unparsable time"
    with pytest.raises(TroubleError, match=r"log\.csv row 2: t = 1e\+308 is no delay"):
        seconds_to_micros(chunk, "t")


def test_a_column_that_cannot_be_a_time_is_refused():
    with pytest.raises(TroubleError, match="column t is a Boolean"):
        clock_of(pl.Series("t", [True]), "auto")


def test_a_guessed_unit_is_doubted_outside_1990_to_2100():
    assert doubtful(Clock("t", "s", guessed=True), 5_000_000) is not None
    assert doubtful(Clock("t", "s"), 5_000_000) is None
    assert doubtful(Clock("t", "s", guessed=True), MICROS) is None
