import numpy as np
import polars as pl
import pytest

from marm.config import load_run
from marm.data.among import log_among
from marm.data.init import init
from marm.data.validate import validate
from marm.errors import DataError
from tests.data.logs import write
from tests.data.test_init import ROWS, binary, log_of

USERS = pl.DataFrame({"user_id": range(30), "gender": ["f", "m"] * 15})
ITEMS = pl.DataFrame({"item_id": range(60), "category": [n % 5 for n in range(60)]})


def fill(folder, **frames):
    """A folder of CSV files."""
    folder.mkdir(exist_ok=True)
    for name, frame in frames.items():
        write(frame, folder / f"{name}.csv")
    return folder


def test_a_folder_of_a_log_its_items_and_users_is_taken_as_it_is(tmp_path):
    parts = {name: log_of(is_click=binary()) for name in ("log_1", "log_2")}
    folder = fill(tmp_path / "all", **parts, users=USERS, items=ITEMS)
    init(folder, tmp_path / "run.toml")
    run = load_run(tmp_path / "run.toml")
    assert (run.data.path, run.data.log) == (str(folder), "log_*.csv")
    assert (run.data.items.file, run.data.users.file) == ("items.csv", "users.csv")
    assert validate(run).summary.rows == 2 * ROWS


def test_files_that_no_glob_tells_from_others_are_listed(tmp_path):
    parts = {name: log_of(is_click=binary()) for name in ("april", "may")}
    fill(tmp_path / "all", **parts, users=USERS)
    assert log_among(tmp_path / "all", {}) == (tmp_path / "all", ["april.csv", "may.csv"])


def test_files_of_one_kind_are_one_log_in_their_folder(tmp_path):
    more = log_of(is_click=binary(), device=1, os=2)
    fill(tmp_path / "days", one=more.drop("os"), two=more)
    (tmp_path / "days" / "three.csv").touch()
    assert log_among(tmp_path / "days", {}) == (tmp_path, "days")


def test_of_two_kinds_that_may_be_the_log_the_one_that_is_clearly_larger_is_it(tmp_path):
    ratings, tags = log_of(rating=binary()), log_of(tag="slow", by=3)
    fill(tmp_path / "all", ratings=ratings, tags=tags.head(ROWS // 8), items=ITEMS)
    assert log_among(tmp_path / "all", {}) == (tmp_path / "all", "ratings.csv")
    fill(tmp_path / "all", tags=tags)
    with pytest.raises(
        DataError, match=r"all: tags.csv and ratings.csv may each be the log.*: name the one to learn from"
    ):
        log_among(tmp_path / "all", {})


def test_columns_that_are_named_tell_the_log_too(tmp_path):
    seen = log_of(is_click=binary()).rename({"user_id": "who"})
    fill(tmp_path / "all", seen=seen, items=ITEMS)
    with pytest.raises(DataError, match=r"seen.csv: no column looks like the user"):
        log_among(tmp_path / "all", {})
    assert log_among(tmp_path / "all", {"user": "who"}) == (tmp_path / "all", "seen.csv")


def test_lists_of_what_was_shown_are_said_to_be_the_log_though_another_file_is_larger(tmp_path):
    folder = fill(tmp_path / "all", news=pl.DataFrame({"news_id": np.arange(9000), "title": "a long title of a text"}))
    slates = pl.DataFrame({"user_id": [1, 2], "time": [1_700_000_000] * 2, "impressions": ["n1 n2", "n3 n4"]})
    write(slates, folder / "behaviors.csv")
    with pytest.raises(DataError, match=r"behaviors.csv: impressions holds a list"):
        log_among(folder, {})


def test_a_log_without_names_is_told_by_its_own_error(tmp_path):
    fill(tmp_path / "all", items=ITEMS)
    (tmp_path / "all" / "seen.csv").write_text("1,2268318,pv,1511544070\n" * 100)
    with pytest.raises(DataError, match=r"seen.csv: the first line holds values, not names"):
        log_among(tmp_path / "all", {})


def test_files_of_one_log_in_several_folders_are_taken_and_doubted(tmp_path):
    folder = fill(tmp_path / "all", items=ITEMS)
    for part in ("later", "logs"):
        fill(folder / part, log_1=log_of(is_click=binary()), log_2=log_of(is_click=binary()))
    guess = init(folder, tmp_path / "run.toml")
    assert "the log lies in 2 folders, later, logs: name one to learn from it alone" in guess.unsure
    assert validate(load_run(tmp_path / "run.toml")).summary.rows == 4 * ROWS


def test_folders_that_may_each_be_the_log_are_named(tmp_path):
    folder, parts = tmp_path / "all", {name: log_of(is_click=binary()) for name in ("log_1", "log_2")}
    folder.mkdir()
    fill(folder / "logs", **parts)
    fill(folder / "later", **{name: part.with_columns(a=1, b=1, c=1) for name, part in parts.items()})
    with pytest.raises(DataError, match="all: later and logs may each be the log"):
        log_among(folder, {})


def test_folders_of_days_are_one_log_and_a_glob_of_folders_says_what_works(tmp_path):
    folder = fill(tmp_path / "all", items=ITEMS)
    for day in (1, 2, 3):
        fill(folder / f"dt=2024-01-0{day}", part=log_of(is_click=binary()))
    guess = init(folder, tmp_path / "run.toml")
    assert load_run(tmp_path / "run.toml").data.log == "dt=2024-01-0*/part.csv"
    assert not any("folders" in line for line in guess.unsure)
    with pytest.raises(
        DataError, match=r"0\[12\]: folders match, and no files: name what is in them, as in '.*'$"
    ) as error:
        init(folder / "dt=2024-01-0[12]", tmp_path / "two.toml")
    assert str(error.value).split("'")[1] == str(folder / "dt=2024-01-0[12]" / "*.csv")
    init(folder / "dt=2024-01-0[12]" / "*.csv", tmp_path / "two.toml")
    assert validate(load_run(tmp_path / "two.toml")).summary.rows == 2 * ROWS
