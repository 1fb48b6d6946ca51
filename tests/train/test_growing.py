"""Files that come to a folder are learned from once they are whole, whatever they are written as."""

import gzip
import logging
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.data import growing
from marm.data.stream import EventLog
from marm.train import run as commands
from marm.train.follow import follow
from tests.train.feeding import columns, copy_of, quick
from tests.train.logs import FEATURES, log_frame, run_over, write_world

TRAINED, ALL = 150, 200
pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of text are taken soon."""
    monkeypatch.setattr(growing, "SETTLED", 0.1)


@pytest.fixture(scope="module")
def whole() -> pl.DataFrame:
    return log_frame(events=ALL).drop("query")


@pytest.fixture(scope="module")
def begun(whole: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the first part of the log."""
    folder = tmp_path_factory.mktemp("begun")
    world = write_world(folder / "world", whole[:TRAINED])
    features = {**FEATURES, "context": {"page": "category", "hour": "number"}}
    commands.train(run_over(world, features=features, memory={"url": "lmdb://memory"}), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "ndjson.gz", "jsonl"])
def test_new_files_of_text_are_learned_like_parquet(
    whole: pl.DataFrame, begun: Path, tmp_path: Path, ending: str
) -> None:
    new = {}
    for kind in ("parquet", ending):
        run, days = copy_of(begun, tmp_path / kind), tmp_path / f"days-{kind}"
        days.mkdir()
        write(whole[TRAINED:], days / f"day.{kind}")
        assert follow(run, quick(run), log=str(days), until_idle=0)["events"] == ALL - TRAINED
        new[kind] = columns(EventLog(run / "events"), TRAINED, ALL)
    assert new[ending] == new["parquet"]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_that_was_found_half_written_is_told_once_and_learned_when_it_is_whole(
    whole: pl.DataFrame, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, ending: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(growing, "PATIENCE", 0.0)
    run, days = copy_of(begun, tmp_path / "run"), tmp_path / "days"
    with caplog.at_level(logging.WARNING):
        follow(run, quick(run), log=str(days), until_idle=0.3)
        days.mkdir()
        (days / f"day.{ending}").write_bytes(b"PAR1 half" if ending == "parquet" else b"")
        assert follow(run, quick(run), log=str(days), until_idle=0.3)["events"] == 0
    missing, half = (record.message for record in caplog.records)
    assert missing.startswith(f"{days}: no such file; not to be read for 0 s")
    assert half.startswith(f"{days / f'day.{ending}'}: ") and "tried again" in half
    write(whole[TRAINED:], days / f"day.{ending}")
    assert follow(run, quick(run), log=str(days), until_idle=0)["events"] == ALL - TRAINED


def test_a_file_of_text_is_waited_for_while_it_grows(
    whole: pl.DataFrame, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "SETTLED", 0.5)
    run, days = copy_of(begun, tmp_path / "run"), tmp_path / "days"
    days.mkdir()
    lines = whole[TRAINED:].write_csv().encode().splitlines(keepends=True)

    def come(_: Any = None) -> bool:
        with (days / "day.csv").open("ab") as file:
            file.write(b"".join(lines[:10]))
            del lines[:10]
        return False

    come()
    assert follow(run, quick(run), log=str(days), until_idle=0, stop=come)["events"] == ALL - TRAINED
    assert not lines


def test_files_that_stood_long_are_taken_at_once_and_a_file_of_another_clock_as_soon_as_it_stands(
    whole: pl.DataFrame, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, days = copy_of(begun, tmp_path / "run"), tmp_path / "days"
    days.mkdir()
    for number in range(5):
        write(whole[TRAINED + number * 4 :][:4], days / f"day{number}.csv")
        os.utime(days / f"day{number}.csv", (1e9, 1e9))
    monkeypatch.setattr(growing, "SETTLED", 1e6)
    assert follow(run, quick(run), log=str(days), until_idle=0)["events"] == 20
    monkeypatch.setattr(growing, "SETTLED", 0.2)
    write(whole[TRAINED + 20 :], days / "day6.csv")
    os.utime(days / "day6.csv", (4e9, 4e9))
    assert follow(run, quick(run), log=str(days), until_idle=0)["events"] == ALL - TRAINED - 20


def write(frame: pl.DataFrame, path: Path) -> None:
    """As Parquet or as text, by the ending of the name."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
        return
    text = (frame.write_csv() if ".csv" in path.name else frame.write_ndjson()).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
