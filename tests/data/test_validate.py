import json
import math
import re
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from marm.data import plan
from marm.data.prepare import prepare
from marm.data.validate import validate
from marm.errors import DataError
from tests.data.logs import START, run_over, write, write_log


def kinds(report):
    return {trouble.kind: trouble for trouble in report.troubles}


def test_a_clean_log_has_no_troubles_and_its_figures_are_known(tmp_path):
    write_log(tmp_path, time=[START, START, START, START + 86_400], user=[1, 2, 1, 2])
    report = validate(run_over(tmp_path))
    assert report.ok
    assert report.troubles == []
    summary = report.summary
    assert (summary.rows, summary.dropped, summary.users, summary.items) == (4, 0, 2, 3)
    assert summary.events_per_user == (2, 2, 2)
    assert (summary.first_time, summary.last_time) == ("2020-09-13T12:26:40", "2020-09-14T12:26:40")
    assert summary.tie_share == 0.5
    assert summary.tasks == {"click": 0.5}


def test_a_regression_is_summed_up_by_its_mean(tmp_path):
    write_log(tmp_path, stay=[1.0, None, 2.0, 6.0])
    report = validate(run_over(tmp_path, tasks={"stay": {"column": "stay", "kind": "regression"}}))
    assert report.summary.tasks == {"stay": 3.0}


def test_every_trouble_is_told_at_once_with_count_and_first_row(tmp_path):
    write_log(
        tmp_path,
        user=[None, 2, None, 2],
        time=[START, -5, START + 2, None],
        click=[1, 0, 3, 3],
        age=["1", "x", "1", "1"],
    )
    context = {"age": "number", "pge": "category"}
    run = run_over(tmp_path, data={"history": "itm > 3"}, features={"context": context})
    report = validate(run)
    assert not report.ok
    found = [trouble.message for trouble in report.troubles]
    assert [trouble.kind for trouble in report.troubles] == [
        "missing column",
        "missing column",
        "null",
        "null",
        "negative time",
    ]
    assert found[0] == "data.history: log.parquet has no column itm: did you mean item?"
    assert "features.context.pge: log.parquet has no column pge: did you mean age?" in found
    assert any(line.startswith("log.parquet row 1: user = null (2 such rows): set data.where") for line in found)
    assert any(line.startswith("log.parquet row 4: time = null: set data.where") for line in found)
    assert any(line.startswith("log.parquet row 2: time = -5 is negative") for line in found)


def test_a_condition_a_time_and_a_task_may_read_what_only_folders_say(tmp_path):
    for day in ("2024-01-01", "2024-01-02"):
        (tmp_path / "log" / f"dt={day}").mkdir(parents=True)
        write_log(tmp_path / "log" / f"dt={day}", "part.parquet")
    tasks = {"click": {"column": "click"}, "day": {"column": "dt", "equals": "2024-01-01"}}
    report = validate(run_over(tmp_path, "log", data={"time": "dt", "where": "dt > '2023'"}, tasks=tasks))
    assert [trouble.kind for trouble in report.troubles if trouble.severity == "error"] == []
    assert (report.summary.rows, report.summary.tasks["day"]) == (8, 0.5)
    assert report.summary.last_time == "2024-01-02T00:00:00"


def test_wrong_outcomes_and_features_of_good_rows_are_both_told(tmp_path):
    write_log(tmp_path, click=[1, 0, 3, 3], age=["1", "x", "1", "1"])
    report = validate(run_over(tmp_path, features={"context": {"age": "number"}}))
    assert {trouble.kind for trouble in report.troubles} == {"binary", "type"}
    assert "row 3: click = 3 is neither 0 nor 1 (2 such rows)" in kinds(report)["binary"].message
    assert math.isnan(report.summary.tasks["click"])


@pytest.mark.parametrize("chunk", [2, 100])
def test_a_bad_row_counts_once_however_many_tasks_and_features_read_it(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(plan.Plan, "chunk_rows", lambda self: chunk)
    write_log(tmp_path, play=["1.5", "N/A", "N/A", "N/A"])
    tasks = {
        "play": {"column": "play", "kind": "regression"},
        "long": {"column": "play", "at_least": 2},
        "share": {"column": "click", "divide_by": "play", "at_least": 1},
    }
    report = validate(run_over(tmp_path, tasks=tasks, features={"context": {"play": "number"}}))
    assert [trouble.message.split(":")[1] for trouble in report.troubles] == [
        " play = 'N/A' is not a number (3 such rows)"
    ]


def test_rows_that_where_leaves_out_are_in_no_trouble(tmp_path):
    write_log(tmp_path, user=[None, 2, 1, 2], time=[None, START, START + 1, START + 2], click=[9, 0, 1, 1])
    report = validate(run_over(tmp_path, data={"where": '"user" IS NOT NULL'}))
    assert report.ok
    assert (report.summary.rows, report.summary.dropped) == (3, 1)


@pytest.mark.parametrize("task", [{}, {"at_least": 1}, {"equals": 1}])
def test_a_task_of_one_class_is_an_error(tmp_path, task):
    write_log(tmp_path, click=[1, 1, None, 1])
    trouble = kinds(validate(run_over(tmp_path, tasks={"click": {"column": "click", **task}})))["one class"]
    assert trouble.severity == "error"
    assert "all 3 rows are positive" in trouble.message
    assert "every_row = true" in trouble.message


def test_a_log_of_positives_only_is_what_every_row_says(tmp_path):
    write_log(tmp_path)
    run = run_over(tmp_path, tasks={"buy": {"every_row": True}}, negatives={"per_event": 2})
    assert validate(run).ok


def test_a_file_of_times_without_the_offset_that_the_others_have_is_named(tmp_path):
    days = [f"2024-01-{day:02} 10:00:00" for day in range(1, 9)]
    (tmp_path / "log").mkdir()
    write_log(tmp_path / "log", "a.csv", time=[f"{day}+08:00" for day in days[:4]])
    write_log(tmp_path / "log", "b.csv", time=days[4:])
    run = run_over(tmp_path, "log")
    line = (
        "b.csv row 1: time = '2024-01-05 10:00:00' has no offset from UTC, unlike the first time{}: "
        "write all times with an offset from UTC, as +08:00, or all without"
    )
    assert kinds(validate(run))["mixed offsets"].message == line.format(" (4 such rows)")
    with pytest.raises(DataError) as error:
        prepare(run, tmp_path / "events")
    assert str(error.value) == line.format("")


def test_a_log_in_no_order_is_a_warning_that_names_the_row_and_marm_sort(tmp_path, monkeypatch):
    monkeypatch.setattr(plan.Plan, "chunk_rows", lambda self: 2)
    monkeypatch.setattr(plan.Plan, "part_rows", lambda self: 2)
    write_log(tmp_path, time=[START + 1, START + 2, START + 5, START])
    report = validate(run_over(tmp_path))
    trouble = kinds(report)["unsorted"]
    assert (trouble.severity, report.ok) == ("warning", True)
    assert trouble.message.startswith("log.parquet row 4: time falls from 2020-09-13T12:26:45 to 2020-09-13T12:26:40")
    assert "marm sort" in trouble.message
    assert (report.summary.rows, report.summary.first_time) == (4, "2020-09-13T12:26:40")


def test_the_same_event_twice_is_a_warning_with_the_second_row(tmp_path):
    write_log(tmp_path, user=[1, 1, 1, 1], item=[7, 8, 7, 7], time=[START] * 4)
    trouble = kinds(validate(run_over(tmp_path)))["duplicates"]
    assert trouble.severity == "warning"
    assert trouble.message.startswith("log.parquet row 3: the same user, item and time as a row before (2 such rows)")


def test_items_that_the_item_file_lacks_are_a_warning_with_their_share(tmp_path):
    write_log(tmp_path, item=[7, 8, 9, 9])
    write(pl.DataFrame({"id": ["7", "8"]}), tmp_path / "items.parquet")
    report = validate(run_over(tmp_path, data={"items": {"file": "items.parquet", "id": "id"}}))
    assert report.ok
    assert "lacks 33.3% of the log's items (1), 50.0% of its events" in kinds(report)["items missing"].message


def test_users_that_the_user_file_lacks_are_a_warning(tmp_path):
    write_log(tmp_path)
    write(pl.DataFrame({"id": [1]}), tmp_path / "users.parquet")
    report = validate(run_over(tmp_path, data={"users": {"file": "users.parquet", "id": "id"}}))
    assert "lacks 50.0% of the log's users (1)" in kinds(report)["users missing"].message


def test_troubles_of_a_side_file_are_errors(tmp_path):
    write_log(tmp_path)
    write(pl.DataFrame({"id": [7, 7]}), tmp_path / "items.parquet")
    report = validate(run_over(tmp_path, data={"items": {"file": "items.parquet", "id": "id"}}))
    assert "items.parquet row 2: id = 7 was there before" in kinds(report)["repeated id"].message


def test_a_doubtful_unit_of_time_is_a_warning(tmp_path):
    write_log(tmp_path, time=[5, 6, 7, 8])
    trouble = kinds(validate(run_over(tmp_path)))["time unit"]
    assert "column time read as seconds begins at 1970-01-01T00:00:05" in trouble.message
    assert validate(run_over(tmp_path, data={"time_unit": "s"})).troubles == []


@pytest.mark.parametrize("column", ["user", "item", "time"])
def test_the_remedy_for_nan_in_an_id_or_a_time_leaves_such_rows_out(tmp_path, column):
    write_log(tmp_path, **{column: [math.nan, START + 1.0, START + 1.0, START + 1.0]})
    message = kinds(validate(run_over(tmp_path)))["null"].message
    where = re.search(r'set data.where = (".*") to leave', message)[1]
    summary = validate(run_over(tmp_path, data={"where": json.loads(where)})).summary
    assert (summary.rows, summary.dropped, summary.time_unit) == (3, 1, "seconds")


@pytest.mark.parametrize(
    ("times", "form", "read"),
    [
        (["1970-01-01T00:00:05Z"] * 4, None, "ISO text"),
        (["01/01/1970 00:00:05"] * 4, "%d/%m/%Y %H:%M:%S", "text as %d/%m/%Y %H:%M:%S"),
        ([datetime(1970, 1, 1, 0, 0, 5)] * 4, None, "datetimes"),
    ],
)
def test_times_of_long_ago_are_a_warning_however_they_are_written(tmp_path, times, form, read):
    write_log(tmp_path, time=times)
    report = validate(run_over(tmp_path, data={"time_format": form} if form else {}))
    line = f"column time read as {read} begins at 1970-01-01T00:00:05: leave such rows out with data.where if that is wrong"
    assert (report.ok, kinds(report)["time unit"].message) == (True, line)


@pytest.mark.parametrize(
    ("columns", "sections"),
    [
        ({"item": [1, None, 1, 2]}, {}),
        ({"time": [START, -5, START, START]}, {}),
        ({"click": [2, 2, 1, 0]}, {}),
        ({"click": [0, 0, 0, 0]}, {}),
        ({}, {"data": {"item": "itme"}}),
        ({}, {"data": {"where": "item > 99"}}),
        ({"w": [None, 1.0, 1.0, 1.0]}, {"data": {"feedback_delay": "w"}}),
        ({}, {"features": {"user": {"ag": "number"}}}),
    ],
)
def test_prepare_stops_at_the_first_trouble_with_the_line_that_validate_tells(tmp_path, columns, sections):
    write_log(tmp_path, **columns)
    run = run_over(tmp_path, **sections)
    first = next(trouble for trouble in validate(run).troubles if trouble.severity == "error")
    with pytest.raises(DataError) as error:
        prepare(run, tmp_path / "events")
    assert first.message.split(" (")[0] in str(error.value) or str(error.value) == first.message


def test_figures_are_the_same_however_the_log_is_cut(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = 3000
    frame = pl.DataFrame({"user": rng.integers(0, 20, rows), "item": rng.integers(0, 9, rows),
                          "time": START + rng.integers(0, 200, rows), "click": rng.integers(0, 2, rows)})  # fmt: skip
    write(frame, tmp_path / "log.parquet")
    whole = validate(run_over(tmp_path)).summary
    for rows in (100, 999):
        monkeypatch.setattr(plan.Plan, "chunk_rows", lambda self, rows=rows: rows)
        monkeypatch.setattr(plan.Plan, "part_rows", lambda self: 256)
        assert validate(run_over(tmp_path)).summary == whole
    assert whole.duplicates == frame.height - frame.unique(["user", "item", "time"]).height
    assert whole.tie_share == pytest.approx(frame.select(pl.struct("user", "time").is_duplicated().mean()).item())
