import numpy as np
import polars as pl
import pytest

from marm.data import plan
from marm.data.events import Tags
from marm.data.ids import hash_feature, hash_text
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.errors import DataError, FolderError
from tests.data.logs import START, prepared, run_over, write, write_log

MICROS = 1_000_000


def rows_of(log):
    return log.read(0, len(log)).row.tolist()


def shuffled(folder, rows=5000, users=40, times=900, seed=0):
    """A log with many ties, in no order, and its sorted twin."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, users, rows),
            "item": rng.integers(0, 90, rows),
            "time": START + rng.integers(0, times, rows),
            "click": rng.integers(0, 2, rows),
        }
    )
    write(frame, folder / "log.parquet")
    return frame


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks, parts and buckets of a few hundred rows, so that small logs cross every boundary."""
    monkeypatch.setattr(plan.Plan, "chunk_rows", lambda self: 300)
    monkeypatch.setattr(plan.Plan, "part_rows", lambda self: 512)


def test_a_log_becomes_events_with_hashed_ids_and_times_in_microseconds(tmp_path):
    frame = write_log(tmp_path)
    log = prepared(tmp_path, run_over(tmp_path, data={"feedback_delay": 2.5, "history": "item > 7"}))
    events = log.read(0, 4)
    assert (events.user == hash_text(frame["user"])).all()
    assert (events.item == hash_text(frame["item"])).all()
    assert (events.time == frame["time"].to_numpy() * MICROS).all()
    assert (events.known == events.time + 2_500_000).all()
    assert events.history.tolist() == [False, True, True, False]
    assert events.labels.tolist() == [[1], [0], [1], [0]]
    assert (log.manifest.rows, log.manifest.time_unit, log.manifest.sorted) == (4, "seconds", True)


def test_parquet_csv_and_ndjson_of_one_log_are_one_stream(tmp_path):
    hashes = set()
    for name in ("log.parquet", "log.csv", "log.ndjson"):
        write_log(tmp_path, name, page=["a", None, "b", "a"], age=[1.5, 2.0, None, 4.0])
        context = {"page": "category", "age": "number"}
        manifest = prepare(run_over(tmp_path, name, features={"context": context}), tmp_path / f"events-{name}")
        hashes.add(manifest.data_hash)
    assert len(hashes) == 1


def test_the_hash_tells_logs_apart_by_anything_a_model_sees(tmp_path):
    hashes = []
    for number, other in enumerate(
        [{}, {"user": [1, 2, 1, 3]}, {"click": [1, 1, 1, 0]}, {"page": ["x", "a", "a", "a"]}]
    ):
        write_log(tmp_path, **{"page": ["a"] * 4, **other})
        run = run_over(tmp_path, features={"context": {"page": "category"}})
        hashes.append(prepare(run, tmp_path / f"events-{number}").data_hash)
    assert len(set(hashes)) == 4


def test_events_are_ordered_by_time_then_user_as_first_seen_then_row(tmp_path):
    write_log(tmp_path, user=[2, 1, 2, 1], time=[START] * 4)
    assert rows_of(prepared(tmp_path, run_over(tmp_path))) == [0, 2, 1, 3]


@pytest.mark.parametrize("falls", ["never", "at once", "at the end"])
def test_a_log_larger_than_its_chunks_comes_out_as_if_sorted_in_memory(tmp_path, small_chunks, falls):
    frame = shuffled(tmp_path)
    if falls != "at once":
        frame = frame.sort("time", maintain_order=True)
    if falls == "at the end":
        frame = pl.concat([frame[:-1], frame[-1:].with_columns(pl.col("time") - 5000)])
    write(frame, tmp_path / "log.parquet")
    log = prepared(tmp_path, run_over(tmp_path))
    first = pl.col("row").min().over("time", "user")
    expected = frame.with_row_index("row").with_columns(first=first).sort("time", "first", "row")["row"]
    assert rows_of(log) == expected.to_list()
    assert log.manifest.sorted is (falls == "never")
    times = log.read(0, len(log)).time
    assert (log.manifest.first_time, log.manifest.last_time) == (times.min(), times.max())
    assert sorted(path.name for path in (tmp_path / "events").iterdir())[1:4] == [
        "manifest.json",
        "part-00000.arrow",
        "part-00001.arrow",
    ]
    originals = log.originals(0, len(log))
    assert originals["item"].to_list() == frame["item"][expected].to_list()


def test_how_a_log_is_cut_into_chunks_does_not_change_the_stream(tmp_path, monkeypatch):
    shuffled(tmp_path)
    hashes = set()
    for rows in (64, 1000, 2**18):
        monkeypatch.setattr(plan.Plan, "chunk_rows", lambda self, rows=rows: rows)
        hashes.add(prepare(run_over(tmp_path), tmp_path / f"events-{rows}").data_hash)
    assert len(hashes) == 1


@pytest.mark.parametrize("log", ["parts", "parts/day-*.parquet", ["parts/day-1.parquet", "parts/day-2.parquet"]])
def test_a_folder_a_glob_and_a_list_of_files_are_one_log(tmp_path, log):
    (tmp_path / "parts").mkdir()
    write_log(tmp_path / "parts", "day-1.parquet")
    write_log(tmp_path / "parts", "day-2.parquet", time=[START + 9 + i for i in range(4)], extra=[1, 2, 3, 4])
    log = prepared(tmp_path, run_over(tmp_path, log))
    assert rows_of(log) == list(range(8))
    assert log.manifest.files == [("day-1.parquet", 0), ("day-2.parquet", 4)]


def test_files_whose_ids_have_other_types_are_read_as_text(tmp_path):
    write_log(tmp_path, "a.csv")
    write_log(tmp_path, "b.csv", user=["x", "1", "x", "1"], time=[START + 9 + i for i in range(4)])
    log = prepared(tmp_path, run_over(tmp_path, ["a.csv", "b.csv"]))
    users = log.read(0, 8).user
    assert users[0] == users[5]
    assert log.originals(0, 8)["user"].to_list() == ["1", "2", "1", "2", "x", "1", "x", "1"]


def test_where_drops_rows_and_counts_them_and_rows_keep_their_numbers(tmp_path):
    write_log(tmp_path, user=[None, 2, 1, 2])
    log = prepared(tmp_path, run_over(tmp_path, data={"where": '"user" IS NOT NULL AND item <> 8'}))
    assert rows_of(log) == [2, 3]
    assert (log.manifest.log_rows, log.manifest.dropped) == (4, 2)


def test_a_null_condition_for_history_is_false(tmp_path):
    write_log(tmp_path, score=[5.0, None, 1.0, 4.0])
    log = prepared(tmp_path, run_over(tmp_path, data={"history": "score >= 3"}))
    assert log.read(0, 4).history.tolist() == [True, False, False, True]


def test_features_of_the_log_and_of_side_files_are_kept_by_kind(tmp_path):
    write_log(tmp_path, page=["a", None, "b", "a"], brand=["x", "y", "x", "x"], age=[1.0, None, 3.0, 4.0])
    items = {"id": ["8", "7"], "tags": [["p", "q"], []], "vec": [[1.0, 2.0], None], "price": [None, 2.5]}
    write(pl.DataFrame(items), tmp_path / "items.parquet")
    run = run_over(
        tmp_path,
        data={"items": {"file": "items.parquet", "id": "id"}},
        features={
            "item": {"tags": "tags", "vec": "vector", "price": "number", "brand": "category"},
            "user": {"age": "number"},
            "context": {"page": "category"},
        },
    )
    log = prepared(tmp_path, run)
    events = log.read(0, 4)
    assert (events.context["page"] == hash_feature("page", pl.Series(["a", None, "b", "a"]))).all()
    assert (events.item_columns["brand"] == hash_feature("brand", pl.Series(["x", "y", "x", "x"]))).all()
    np.testing.assert_array_equal(events.user_columns["age"], np.array([1, np.nan, 3, 4], np.float32))
    at = log.items.find(events.item)
    tags = log.items.columns["tags"]
    assert isinstance(tags, Tags)
    assert (at >= 0).tolist() == [True, True, False, True]
    assert tags.take(at[1:2]).values.tolist() == hash_feature("tags", pl.Series(["p", "q"])).tolist()
    assert log.items.columns["vec"][at[:2]].tolist() == [[0, 0], [1, 2]]
    assert log.manifest.columns["items"] == {"tags": "tags", "vec": "vector", "price": "number"}
    assert log.manifest.widths == {"items.vec": 2}


def test_ids_of_a_side_file_in_any_order_are_found(tmp_path):
    write_log(tmp_path)
    ids = pl.Series(range(1, 101)).shuffle(seed=1)
    write(pl.DataFrame({"id": ids, "price": ids / 2}), tmp_path / "items.parquet")
    side = {"items": {"file": "items.parquet", "id": "id"}}
    log = prepared(tmp_path, run_over(tmp_path, data=side, features={"item": {"price": "number"}}))
    at = log.items.find(hash_text(pl.Series([1, 50, 100, 101])))
    assert at[3] == -1
    assert log.items.columns["price"][at[:3]].tolist() == [0.5, 25.0, 50.0]


def test_the_logs_own_ids_and_times_are_kept_as_they_were(tmp_path):
    frame = write_log(tmp_path, item=["007", "b", None, "007"])
    log = prepared(tmp_path, run_over(tmp_path, data={"where": "item IS NOT NULL"}))
    assert log.originals(0, 3).schema == {"row": pl.Int64, "user": pl.Int64, "item": pl.String, "time": pl.Int64}
    assert log.originals(1, 3).rows() == [(1, 2, "b", START + 1), (3, 2, "007", START + 3)]
    assert frame["user"].dtype == pl.Int64


def test_an_interrupted_preparation_leaves_nothing_to_see(tmp_path, monkeypatch):
    write_log(tmp_path)

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("marm.data.parts.PartWriter.finish", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare(run_over(tmp_path), tmp_path / "run" / "events")
    assert list((tmp_path / "run").iterdir()) == []


def test_what_a_killed_preparation_left_is_cleared_away(tmp_path):
    write_log(tmp_path)
    (tmp_path / "events.tmp").mkdir()
    (tmp_path / "events.tmp" / "part-00007.arrow").write_text("half")
    assert len(prepared(tmp_path, run_over(tmp_path))) == 4
    assert not (tmp_path / "events.tmp").exists()
    assert not (tmp_path / "events" / "part-00007.arrow").exists()


def test_a_folder_that_is_there_is_not_written_over(tmp_path):
    write_log(tmp_path)
    prepare(run_over(tmp_path), tmp_path / "events")
    with pytest.raises(FolderError, match="events exists"):
        prepare(run_over(tmp_path), tmp_path / "events")


def test_progress_rises_to_1(tmp_path, small_chunks):
    shuffled(tmp_path)
    told = []
    prepare(run_over(tmp_path), tmp_path / "events", lambda stage, share: told.append((stage, share)))
    assert told[-1] == ("sorting", 1.0)
    sorting = [share for stage, share in told if stage == "sorting"]
    assert sorting == sorted(sorting)
    assert len(sorting) > 10


@pytest.mark.parametrize(
    ("columns", "sections", "says"),
    [
        ({"item": [1, None, 1, 2]}, {}, 'row 2: item = null: set data.where = "item IS NOT NULL"'),
        ({"user": [1, None, 1, 2]}, {}, 'row 2: user = null: set data.where = "\\"user\\" IS NOT NULL"'),
        ({}, {"data": {"user": "usr"}}, "data.user: log.parquet has no column usr: did you mean user?"),
        ({}, {"data": {"where": "item >"}}, "data.where = 'item >': unable to parse"),
        ({}, {"data": {"where": "itm > 3"}}, "data.where: log.parquet has no column itm: did you mean item?"),
        ({}, {"data": {"where": "item + 1"}}, "gives Int64, not true or false"),
        ({}, {"data": {"where": "item > 99"}}, "empty log (no rows with item > 99)"),
        ({}, {"data": {"log": "log.parqet"}}, "did you mean log.parquet?"),
        ({"click": [0, 2, 1, 1]}, {}, "log.parquet row 2: click = 2 is neither 0 nor 1"),
        ({"click": [1, 1, 1, 1]}, {}, "tasks.click: all 4 rows are positive"),
        ({"w": [1.0, None, 2.0, 3.0]}, {"data": {"feedback_delay": "w"}}, "log.parquet row 2: w = null is no delay"),
        ({"w": [[1.0], [1.0], [1.0, 2.0], None]}, {"features": {"context": {"w": "vector"}}}, "row 3: w = "),
        ({"w": [1, 2, 3, 4]}, {"features": {"item": {"w": "number"}}}, "features.item.w: number in the log"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_remedy(tmp_path, columns, sections, says):
    write_log(tmp_path, **columns)
    with pytest.raises(DataError) as error:
        prepare(run_over(tmp_path, **sections), tmp_path / "events")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "events").exists()


def test_a_feature_that_neither_file_has_is_named_with_the_nearest_of_both(tmp_path):
    write_log(tmp_path)
    write(pl.DataFrame({"id": [7], "genres": ["a|b"]}), tmp_path / "items.csv")
    run = run_over(tmp_path, data={"items": {"file": "items.csv", "id": "id"}}, features={"item": {"genre": "tags"}})
    says = r"features.item.genre: neither items.csv nor log.parquet has a column genre: did you mean genres\?"
    with pytest.raises(DataError, match=says):
        prepare(run, tmp_path / "events")


def test_an_item_twice_in_the_item_file_is_named_with_its_row(tmp_path):
    write_log(tmp_path)
    write(pl.DataFrame({"id": [7, 8, 7]}), tmp_path / "items.csv")
    with pytest.raises(DataError, match=r"items.csv row 3: id = 7 was there before: keep one row for each id"):
        prepare(run_over(tmp_path, data={"items": {"file": "items.csv", "id": "id"}}), tmp_path / "events")


def test_a_file_cut_short_is_named(tmp_path):
    write_log(tmp_path)
    whole = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "log.parquet").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"log.parquet: cannot be read"):
        prepare(run_over(tmp_path), tmp_path / "events")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "log.csv",
            b"user,item,time,click\n1,a,1600000000,0\n2,b,1600000001,1,9\n",
            "row 2 has 5 fields, the header 4",
        ),
        ("log.csv", b"user,item,time,click\n1,\xe9,1600000000,0\n", "row 1 is not UTF-8: `iconv -f LATIN1"),
        ("log.ndjson", b'{"user": "\xe9", "item": 2, "time": 3, "click": 1}\n', "row 1 is not UTF-8: `iconv -f LATIN1"),
        ("log.ndjson", b'{"user": 1, "item": 2, "time": 3, "click": 1}\nuser 2\n', "row 2 is not JSON"),
    ],
)
def test_a_row_that_is_no_csv_or_json_is_named(tmp_path, name, text, says):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=f"{name}: cannot be read .{says}"):
        prepare(run_over(tmp_path, name), tmp_path / "events")


@pytest.mark.parametrize("name", ["log.csv", "log.ndjson", "log.parquet"])
def test_an_empty_file_is_an_empty_log(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(DataError, match="empty log"):
        prepare(run_over(tmp_path, name), tmp_path / "events")


def test_a_shorter_log_is_the_same_stream_up_to_its_end(tmp_path):
    frame = shuffled(tmp_path).sort("time", maintain_order=True)
    write(frame, tmp_path / "log.parquet")
    whole = prepared(tmp_path, run_over(tmp_path))
    edge = int((frame["time"] < START + 450).sum())
    write(frame.head(edge), tmp_path / "short.parquet")
    prepare(run_over(tmp_path, "short.parquet"), tmp_path / "short")
    short, long = EventLog(tmp_path / "short").read(0, edge), whole.read(0, edge)
    assert (short.row == long.row).all()
    assert (short.labels == long.labels).all()


@pytest.mark.usefixtures("small_chunks")
def test_the_first_events_by_time_are_left_out_and_then_so_many_taken(tmp_path):
    shuffled(tmp_path, rows=1200)
    prepare(run_over(tmp_path), tmp_path / "whole")
    prepare(run_over(tmp_path, data={"skip": 700, "first": 300}), tmp_path / "late")
    whole, late = (EventLog(tmp_path / name) for name in ("whole", "late"))
    assert rows_of(late) == rows_of(whole)[700:1000]
