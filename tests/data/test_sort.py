import numpy as np
import polars as pl
import pytest

from marm.data import sort
from marm.data.sort import sort_log
from marm.errors import DataError, FolderError
from tests.data.logs import START, write, write_log


def test_a_log_is_sorted_by_time_and_rows_of_one_time_stay_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(sort, "_BUCKET_ROWS", 100)
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"time": START + rng.integers(0, 50, 2000), "user": range(2000), "tags": [["a"]] * 2000})
    write(frame, tmp_path / "log.parquet")
    assert sort_log(tmp_path / "log.parquet", tmp_path / "out.parquet", "time") == 2000
    assert pl.read_parquet(tmp_path / "out.parquet").equals(frame.sort("time", maintain_order=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.parquet", "out.parquet"]


def test_times_sort_as_times_and_not_as_text(tmp_path):
    time = ["2024-01-01T12:00:00+02:00", "2024-01-01T11:00:00Z", "2023-12-31T00:00Z", "2024-01-02T00:00Z"]
    write_log(tmp_path, "log.csv", time=time)
    sort_log(tmp_path / "log.csv", tmp_path / "out.parquet", "time")
    assert pl.read_parquet(tmp_path / "out.parquet")["item"].to_list() == [9, 7, 8, 7]


def test_a_folder_becomes_one_file(tmp_path):
    (tmp_path / "log").mkdir()
    write_log(tmp_path / "log", "b.csv")
    write_log(tmp_path / "log", "a.csv", time=[START + 9] * 4)
    sort_log(tmp_path / "log", tmp_path / "out.parquet", "time")
    assert (
        pl.read_parquet(tmp_path / "out.parquet")["time"].to_list() == [START + i for i in range(4)] + [START + 9] * 4
    )


def test_a_glob_of_files_in_folders_is_sorted_as_one(tmp_path):
    for day, time in (("1", START + 1), ("2", START)):
        (tmp_path / f"day={day}").mkdir()
        write(pl.DataFrame({"user": [1], "time": [time]}), tmp_path / f"day={day}" / "part.parquet")
    sort_log(tmp_path / "*" / "part.parquet", tmp_path / "out.parquet", "time")
    assert pl.read_parquet(tmp_path / "out.parquet").rows() == [(1, START, "2"), (1, START + 1, "1")]


def test_an_unknown_column_a_null_time_and_a_file_that_is_there_are_refused(tmp_path):
    write_log(tmp_path, when=[1, 2, None, 3])
    with pytest.raises(DataError, match="no column tme: did you mean time"):
        sort_log(tmp_path / "log.parquet", tmp_path / "out.parquet", "tme")
    with pytest.raises(DataError, match=r"log.parquet row 3: when = null: mend such rows"):
        sort_log(tmp_path / "log.parquet", tmp_path / "out.parquet", "when")
    with pytest.raises(FolderError, match="exists"):
        sort_log(tmp_path / "log.parquet", tmp_path / "log.parquet", "time")
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]
