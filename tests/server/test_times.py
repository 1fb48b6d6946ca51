"""Times of requests and events, in whatever way a log writes its own."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.data.live import LiveLog, Row
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.errors import DataError
from marm.server.times import Times
from tests.train.feeding import CONTEXT, OUTCOMES
from tests.train.logs import START, log_frame, run_over, write_world

LATER = (START + 7_777) // 60 * 60
MINUTES = "%d/%m/%Y %H:%M"


def nothing_refused(row: int, reason: str) -> None:
    raise AssertionError((row, reason))


@pytest.mark.parametrize(
    ("written", "settings", "is_written", "other"),
    [
        (pl.col("time"), {}, float(LATER), "soon"),
        (pl.col("time") * 1_000_000_000, {}, LATER * 1_000_000_000, "2020-09-13 12:00"),
        (pl.from_epoch("time").dt.strftime(MINUTES), {"time_format": MINUTES}, "13/09/2020 14:36", "2020-09-13 14:36"),
        (
            pl.from_epoch("time").dt.strftime("%Y%m%d%H%M").cast(pl.Int64),
            {"time_format": "%Y%m%d%H%M"},
            "202009131436",
            True,
        ),
        (pl.from_epoch("time"), {}, "2020-09-13 14:36:00.000000", 7),
    ],
)
def test_a_served_time_is_read_as_the_log_writes_it(
    tmp_path: Path, written: pl.Expr, settings: dict[str, Any], is_written: Any, other: Any
) -> None:
    frame = log_frame().with_columns(time=written)
    run = run_over(write_world(tmp_path / "world", frame), data=settings)
    prepare(run, tmp_path / "events")
    log, live = EventLog(tmp_path / "events"), LiveLog(run, tmp_path / "events")
    times = Times(log, live)
    assert times.written(LATER * 1_000_000) == is_written
    assert times.read(is_written) == LATER * 1_000_000
    row = frame.row(0, named=True)
    served = Row("e1", row["user"], row["item"], is_written, {name: row[name] for name in CONTEXT + OUTCOMES})
    made, _ = live.convert(live.served([served], nothing_refused), 200, nothing_refused)
    assert made["time"].to_list() == [LATER * 1_000_000]
    with pytest.raises(DataError, match="is no time as the log writes times: give"):
        times.read(other)
