"""Logs of lists as rows of exposures: every shape, odd input, and writes that fail."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marm.config import load_run
from marm.data import explode
from marm.data.explode import explode_log
from marm.data.exploded import lines
from marm.data.init import init
from marm.data.prepare import prepare
from marm.data.slates import Asked
from marm.data.source import takes_in
from marm.data.validate import validate
from marm.errors import DataError, DiskError, FolderError
from tests.data.logs import START, write

RNG = np.random.default_rng(11)


def rows_of(folder, log, name="log.parquet", **asked):
    """The rows of a log, and what is said of them."""
    if log is not None:
        write(log if isinstance(log, pl.DataFrame) else pl.DataFrame(log), folder / name)
    out = folder.parent / f"{folder.name}.parquet"
    done = explode_log(folder / name, out, Asked(**asked), force=True)
    return pl.read_parquet(out), lines(done, Path("rows.parquet"))


def test_shown_and_clicked_lists(tmp_path):
    log = {
        "impression_id": [1, 2],
        "article_ids_inview": [[11, 12, 13], [12, 11]],
        "user_id": [5, 6],
        "article_ids_clicked": [[12], [12, 11]],
        "next_read_time": [3.5, None],
    }
    rows, said = rows_of(tmp_path, log)
    assert rows.columns == ["impression_id", "article_id", "user_id", "next_read_time", "click", "position"]
    assert rows.rows() == [
        (1, 11, 5, 3.5, 0, 1), (1, 12, 5, 3.5, 1, 2), (1, 13, 5, 3.5, 0, 3), (2, 12, 6, None, 1, 1), (2, 11, 6, None, 1, 2),
    ]  # fmt: skip
    assert len(said) == 2


def test_text_with_marks_whose_ids_may_hold_dashes(tmp_path):
    log = {
        "user": ["U1", "U2", "U3"],
        "impressions": ["N1-0 N-2-1", "N3-1  N1-0 ", "N1-0"],
        "history": ["N7 N8", "N9 N1", ""],
    }
    rows, said = rows_of(tmp_path, log, "log.csv")
    assert rows.columns == ["user", "item_id", "click", "position"]
    assert rows.rows() == [
        ("U1", "N1", 0, 1), ("U1", "N-2", 1, 2), ("U2", "N3", 1, 1), ("U2", "N1", 0, 2), ("U3", "N1", 0, 1),
    ]  # fmt: skip
    assert "left out, as lists without a value for each item: history" in said


def test_text_parted_by_bars_with_one_clicked_id_and_prices_beside(tmp_path):
    log = {"user": ["a", "b"], "reference": ["2", "8"], "impressions": ["1|2|3", "9|8"], "prices": ["10|20|30", "5|"]}
    rows, _ = rows_of(tmp_path, log, "log.csv", clicked=("reference",))
    assert rows.columns == ["user", "item_id", "prices", "click", "position"]
    assert rows.rows() == [
        ("a", "1", "10", 0, 1), ("a", "2", "20", 1, 2), ("a", "3", "30", 0, 3), ("b", "9", "5", 0, 1), ("b", "8", None, 1, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("texts", [["4 5", "6 4"], ["4,5", "6, 4"], ["[4, 5]", "[6,4]"], ["['4' '5']", '["6", "4"]']])
def test_lists_in_text_parted_in_other_ways(tmp_path, texts):
    rows, _ = rows_of(tmp_path, {"user": [1, 2], "shown_products": texts, "products_clicked": ["5", None]}, "log.csv")
    assert rows.rows() == [(1, "4", 0, 1), (1, "5", 1, 2), (2, "6", 0, 1), (2, "4", 0, 2)]
    assert rows.columns == ["user", "product_id", "click", "position"]


def test_lists_of_records_become_columns_and_a_field_gives_way_to_a_column_of_the_log(tmp_path):
    first = [{"aid": 5, "ts": 10, "type": "clicks"}, {"aid": 6, "ts": 11, "type": "carts"}]
    events = [first, [{"aid": 5, "ts": 12, "type": "orders"}]]
    rows, said = rows_of(tmp_path, {"session": [1, 2], "events": events, "type": ["web", "app"]}, "log.ndjson")
    assert rows.columns == ["session", "aid", "ts", "events_type", "type"]
    assert rows.rows() == [(1, 5, 10, "clicks", "web"), (1, 6, 11, "carts", "web"), (2, 5, 12, "orders", "app")]
    assert said[0] == "events holds records: aid, ts, type (as events_type)"


def test_records_without_a_time_have_a_place(tmp_path):
    slate = [[{"item": 5, "clicked": 1}, None, {"item": 6, "clicked": 0}]]
    rows, said = rows_of(tmp_path, {"user": [1], "slate": slate})
    assert rows.rows() == [(1, 5, 1, 1), (1, 6, 0, 3)]
    assert "1 place without an item in lists of slate: left out" in said


def slates(count):
    """Lists of 2 to 5 items, and the one clicked in half of them."""
    shown = [RNG.choice(40, RNG.integers(2, 6), replace=False).tolist() for _ in range(count)]
    return shown, [RNG.choice(items, RNG.integers(0, 2)).tolist() for items in shown]


def shaped(shape, count=200):
    shown, clicked = slates(count)
    base = {"user_id": RNG.integers(0, 20, len(shown)), "timestamp": START + 60 * np.arange(len(shown))}
    marks = [" ".join(f"N{i}-{int(i in hit)}" for i in items) for items, hit in zip(shown, clicked, strict=True)]
    kinds = ("clicks", "carts", "orders")
    events = [
        [{"aid": i, "ts": (START + 60 * at + i) * 1000, "type": kinds[i % 3]} for i in items]
        for at, items in enumerate(shown)
    ]
    return {
        "lists": {**base, "article_ids_inview": shown, "article_ids_clicked": clicked},
        "marks": {**base, "impressions": marks},
        "bars": {**base, "impressions": ["|".join(map(str, items)) for items in shown],
                 "clicked_item": [str(hit[0]) if hit else None for hit in clicked]},
        "records": {"session": range(len(shown)), "events": events},
    }[shape]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "name", "item", "tasks"),
    [
        ("lists", "log.parquet", "article_id", {"click"}),
        ("lists", "log.ndjson", "article_id", {"click"}),
        ("marks", "log.csv", "item_id", {"click"}),
        ("bars", "log.csv", "item_id", {"click"}),
        ("records", "log.ndjson", "aid", {"clicks", "carts", "orders"}),
    ],
)
def test_every_shape_is_ready_for_a_run(tmp_path, shape, name, item, tasks):
    write(pl.DataFrame(shaped(shape)), tmp_path / name)
    with pytest.raises(DataError, match="marm explode"):
        init(tmp_path / name, tmp_path / "run.toml")
    explode_log(tmp_path / name, tmp_path / "rows.parquet")
    init(tmp_path / "rows.parquet", tmp_path / "run.toml")
    run = load_run(tmp_path / "run.toml")
    assert (run.data.item, set(run.tasks)) == (item, tasks)
    assert ("position" in run.features.context) == (shape != "records")
    assert validate(run).ok
    prepare(run, tmp_path / "events")


def test_null_and_empty_lists_and_places_make_no_rows_and_are_counted(tmp_path):
    log = {"user": [1, 2, 3, 4], "items_shown": [[7, None, 8], [], None, [9]], "items_clicked": [[8], [], [7], None]}
    rows, said = rows_of(tmp_path, log)
    assert rows.rows() == [(1, 7, 0, 1), (1, 8, 1, 3), (4, 9, 0, 1)]
    assert "2 rows of the log without items (1 with a clicked one): left out" in said
    assert "1 place without an item in lists of items_shown: left out" in said


def test_an_item_that_is_shown_twice_is_clicked_twice_and_one_that_was_not_shown_is_said(tmp_path):
    log = {"user": [1, 2], "items_shown": [[7, 7, 8], [9, 8]], "items_clicked": [[7, 7], [7, 9, 5, 7]]}
    rows, said = rows_of(tmp_path, log, clicked=("items_clicked",))
    assert rows["click"].to_list() == [1, 1, 0, 1, 0]
    lost = "2 ids of items_clicked not among the items of the same row, first log.parquet row 2: items_clicked = '5'"
    assert f"{lost}: no click is made of such" in said


@pytest.mark.parametrize("clicked", [[["8"], ["9"]], [[8.0], [9.0, None]], ["8", "9"], [8, 9]])
def test_ids_compare_as_text(tmp_path, clicked):
    rows, _ = rows_of(tmp_path, {"user": [1, 2], "items_shown": [[7, 8], [9, 7]], "took": clicked}, clicked=("took",))
    assert rows["click"].to_list() == [0, 1, 1, 0]
    assert rows.schema["item_id"] == pl.Int64


def test_lists_beside_the_items_go_with_them_and_a_row_where_one_is_shorter_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(explode, "FIRST_ROWS", 2)
    log = {
        "user": [1, 2, 3],
        "items_shown": [[7, 8], [9], [7, 9]],
        "clicks": [[0, 1], [1], [1, 0]],
        "scores": [[0.1, 0.2], [0.3], [0.4]],
        "embedding": [[1.0] * 4] * 3,
    }
    rows, said = rows_of(tmp_path, log)
    assert rows.columns == ["user", "item_id", "clicks", "scores", "position"]
    assert rows["clicks"].to_list() == [0, 1, 1, 1, 0]
    assert rows["scores"].to_list() == [0.1, 0.2, 0.3, None, None]
    assert "1 list of scores not as long as the items: null there" in said
    assert "left out, as lists without a value for each item: embedding" in said


def test_flags_for_each_item_are_no_ids_though_items_are_called_0_and_1(tmp_path):
    log = {"user": [1, 2], "items_shown": [[0, 1], [1, 0]], "clicks": [[0, 1], [0, 1]]}
    rows, _ = rows_of(tmp_path, log)
    assert rows.rows() == [(1, 0, 0, 1), (1, 1, 1, 2), (2, 1, 0, 1), (2, 0, 1, 2)]


def test_several_columns_of_outcomes_and_a_list_that_only_sounds_like_one(tmp_path):
    log = {
        "user": [1, 2],
        "items_shown": [[7, 8], [9, 8]],
        "items_clicked": [[7], [9, 8]],
        "purchased_items": [[], [9]],
        "previously_clicked": [[1, 2], [3]],
    }
    rows, said = rows_of(tmp_path, log)
    assert rows.columns == ["user", "item_id", "clicked", "purchased", "position"]
    assert (rows["clicked"].to_list(), rows["purchased"].to_list()) == ([1, 0, 1, 1], [0, 0, 1, 0])
    assert "left out, as lists without a value for each item: previously_clicked" in said


def test_names_that_are_taken(tmp_path):
    log = {
        "article_id": [1], "position": [4], "click": [1], "clicked": [0],
        "article_ids_inview": [[7, 8]], "article_ids_clicked": [[7]],
    }  # fmt: skip
    rows, said = rows_of(tmp_path, log)
    assert rows.columns == ["article_id", "position", "click", "clicked", "shown_article_id", "clicked_2"]
    assert rows.rows() == [(1, 4, 1, 0, 7, 1), (1, 4, 1, 0, 8, 0)]
    assert "click is a column of the log: whether an item was clicked is in clicked_2" in said
    assert "position is a column of the log: the place in the list is not written" in said


def test_a_column_that_may_say_what_was_clicked_is_told(tmp_path):
    log = {
        "session": [1, 2, 3, 4, 5],
        "action": ["clickout", "clickout", "search", "clickout", "clickout"],
        "reference": ["7", "9", "Rome, Italy", "8", "5"],
        "impressions": ["7|8", "5|9", None, "8|7", "5|8"],
    }
    _, said = rows_of(tmp_path, log)
    hint = "name one with --clicked COLUMN (reference names one of the row's items), or each row is a positive"
    assert f"no column tells what was clicked: {hint}" in said


def test_the_kinds_of_columns_are_kept(tmp_path):
    kinds = pl.Enum(["x", "y", "z"])
    inview = pl.Series([["x", "y"], ["z", "x"]], dtype=pl.Array(kinds, 2))
    log = pl.DataFrame({"who": pl.Series(["a", "b"], dtype=pl.Categorical), "inview": inview})
    rows, said = rows_of(tmp_path, log)
    assert rows.rows() == [("a", "x", 1), ("a", "y", 2), ("b", "z", 1), ("b", "x", 2)]
    assert rows.dtypes[:2] == [pl.Categorical, kinds]
    assert "no column tells what was clicked: name one with --clicked COLUMN, or each row is a positive" in said


def test_a_folder_is_one_log_and_says_which_columns_not_all_files_have(tmp_path):
    (tmp_path / "days").mkdir()
    for day, more in (("2", {}), ("1", {"device": [3]})):
        write(pl.DataFrame({"user": [int(day)], "inview": [[7, 8]], **more}), tmp_path / "days" / f"{day}.ndjson")
    rows, said = rows_of(tmp_path, None, "days")
    assert rows.rows() == [(1, 7, 1), (1, 8, 2), (2, 7, 1), (2, 8, 2)]
    assert "not all files have device: left out" in said


@pytest.mark.parametrize("shape", ["lists", "marks", "bars", "records"])
def test_rows_do_not_hang_on_where_the_log_is_cut(tmp_path, monkeypatch, shape):
    log = pl.DataFrame(shaped(shape, 60))
    whole, said = rows_of(tmp_path, log)
    sizes, made = [], explode._Rows._rows

    def counted(self, chunk):
        rows = made(self, chunk)
        sizes.append(rows.height)
        return rows

    monkeypatch.setattr(explode, "CHUNK_ROWS", 7)
    monkeypatch.setattr(explode._Rows, "_rows", counted)
    rows, _ = rows_of(tmp_path, log)
    assert rows.equals(whole)
    assert max(sizes) <= 7 + 5 and len(sizes) > 20
    assert said[-1].startswith(f"wrote {whole.height:,} rows of 60 lists")


def test_a_long_list_among_short_ones_is_a_piece_of_its_own(monkeypatch):
    monkeypatch.setattr(explode, "CHUNK_ROWS", 10)
    sizes = [3, 3, 3, 500, 0, 2, 9, 9]
    pieces = [sizes[lo:hi] for lo, hi in pairwise(explode._cuts(np.array(sizes)))]
    assert pieces == [[3, 3, 3], [500, 0], [2], [9, 9]]


def test_a_part_without_a_mark_is_named_with_its_row_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(explode, "CHUNK_ROWS", 4)
    log = pl.DataFrame({"user": range(40), "impressions": ["N1-0 N2-1"] * 38 + ["N1-0 N3", "N1-0"]})
    write(log, tmp_path / "log.parquet")
    (tmp_path / "rows.parquet").write_text("old")
    with pytest.raises(DataError) as told:
        explode_log(tmp_path / "log.parquet", tmp_path / "rows.parquet", force=True)
    found = "log.parquet row 39: impressions = 'N1-0 N3' has 'N3', which ends in neither -0 nor -1"
    assert str(told.value) == f"{found}: mend it, or write the log without such rows"
    assert (tmp_path / "rows.parquet").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.parquet", "rows.parquet"]


@pytest.mark.parametrize(
    ("fault", "shown"), [(OSError(28, "No space left"), DiskError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, fault, shown):
    def fail(path):
        assert path.stat().st_size > 0
        raise fault

    monkeypatch.setattr(explode, "sync", fail)
    write(pl.DataFrame({"user": [1], "inview": [[7, 8]]}), tmp_path / "log.parquet")
    with pytest.raises(shown):
        explode_log(tmp_path / "log.parquet", tmp_path / "rows.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_a_write_that_is_killed_leaves_no_rows_and_can_be_made_again(tmp_path):
    write(pl.DataFrame(shaped("lists")), tmp_path / "log.parquet")
    killed = (
        "import os, pathlib, signal\nfrom marm.data import explode\n"
        "explode.sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "explode.explode_log(pathlib.Path('log.parquet'), pathlib.Path('rows.parquet'))"
    )
    root = str(Path(explode.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", killed], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "rows.parquet").exists()
    explode_log(tmp_path / "log.parquet", tmp_path / "rows.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.parquet", "rows.parquet"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"list": "inviw"}, "--list: log.parquet has no column inviw: did you mean inview"),
        ({"list": "user"}, "--list user: log.parquet has a Int64 on each row there: name a column of lists"),
        ({"list": "place"}, "--list place: log.parquet has texts that no bar, comma or space parts there"),
        ({"list": "nested"}, "--list nested: log.parquet has lists of lists there"),
        ({"clicked": ("clickd",)}, "--clicked: log.parquet has no column clickd"),
        ({"clicked": ("inview",)}, "--clicked inview: log.parquet has no ids of clicked items there"),
        ({"clicked": ("nested",)}, "--clicked nested: log.parquet has no ids of clicked items there"),
        ({"item": "user"}, "--item user: log.parquet has a column user already: give another name"),
        ({"list": "what", "item": "x"}, "log.parquet: what holds records, whose fields become the columns: leave out"),
        ({"list": "none"}, "log.parquet: none holds no item on any row: name another with --list"),
    ],
)
def test_columns_that_cannot_be_taken_are_said(tmp_path, asked, message):
    log = {
        "user": [1, 2], "inview": [[7, 8], [9]], "place": ["top", "end"], "nested": [[[1]], [[2]]],
        "what": [[{"a": 1}], [{"a": 2}]], "none": pl.Series([None, []], dtype=pl.List(pl.Int64)),
    }  # fmt: skip
    write(pl.DataFrame(log), tmp_path / "log.parquet")
    with pytest.raises(DataError) as told:
        explode_log(tmp_path / "log.parquet", tmp_path / "rows.parquet", Asked(**asked))
    assert str(told.value).startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_a_log_of_rows_and_one_of_two_lists_are_refused(tmp_path):
    write(pl.DataFrame({"user": [1], "item": [7]}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match="no column looks like a list of items among user, item: name it with --list"):
        explode_log(tmp_path / "log.parquet", tmp_path / "rows.parquet")
    write(pl.DataFrame({"inview": [[7]], "candidates": [[7, 8]]}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match="inview and candidates look like the list of items: name one with --list"):
        explode_log(tmp_path / "log.parquet", tmp_path / "rows.parquet")


def test_rows_go_to_a_parquet_file_that_is_no_part_of_the_log(tmp_path):
    (tmp_path / "log").mkdir()
    write(pl.DataFrame({"user": [1], "inview": [[7, 8]]}), tmp_path / "log" / "1.parquet")
    for log, out, error in [
        ("log", "log/new/rows.parquet", "would be a part of the log"),
        ("log/*.parquet", "log/rows.parquet", "would be a part of the log"),
        ("log/1.parquet", "log/1.parquet", "would be a part of the log"),
        ("log", "rows.csv", "rows are written as Parquet"),
    ]:
        with pytest.raises((DataError, FolderError), match=error):
            explode_log(tmp_path / log, tmp_path / out, force=True)
    explode_log(tmp_path / "log", tmp_path / "new" / "rows.parquet")
    with pytest.raises(FolderError, match="exists: give --force"):
        explode_log(tmp_path / "log", tmp_path / "new" / "rows.parquet")


@pytest.mark.parametrize(
    ("log", "file", "inside"),
    [
        ("days", "days/a/b.parquet", True),
        ("days", "days/_b.parquet", False),
        ("days", "days/.old/b.parquet", False),
        ("days", "days.parquet", False),
        ("days/*.parquet", "days/b.parquet", True),
        ("days/*.parquet", "days/a/b.parquet", False),
        ("days/log_*.parquet", "days/b.parquet", False),
        ("days/**/b.parquet", "days/a/c/b.parquet", True),
        ("*/b.parquet", "days/b.parquet", True),
        ("days/a.parquet", "days/b.parquet", False),
    ],
)
def test_what_a_log_takes_in(tmp_path, log, file, inside):
    (tmp_path / "days").mkdir()
    assert takes_in(tmp_path / log, tmp_path / file) is inside
