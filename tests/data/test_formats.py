import gzip

import numpy as np
import polars as pl
import pytest

from marm.data.formats import nameless, scan, separator
from marm.data.init import init
from marm.data.source import open_log
from marm.errors import DataError
from tests.data.logs import START, write


@pytest.mark.parametrize(("mark", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"), ("|", "a.txt")])
def test_fields_are_parted_as_the_first_line_is(tmp_path, mark, name):
    (tmp_path / name).write_text(f'user{mark}"an, item; or | two"\n1{mark}x\n')
    assert separator(tmp_path / name) == mark
    assert scan(tmp_path / name).collect().rows() == [(1, "x")]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.ndjson.gz", "a.json"])
def test_packed_text_and_json_lines_of_any_name_are_read(tmp_path, name):
    text = "user,click\n7,1\n" if ".csv" in name else '{"user": 7, "click": 1}\n'
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (tmp_path / name).write_bytes(data)
    assert open_log(tmp_path, name).count_rows() == 1
    assert scan(tmp_path / name).collect().to_dicts() == [{"user": 7, "click": 1}]


def test_a_damaged_row_of_a_packed_file_with_semicolons_is_named(tmp_path):
    text = "a;b\n" + "1;2\n" * 3 + "1;2;3\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match="row 4 has 3 fields, the header 2"):
        list(open_log(tmp_path, "a.csv.gz").frames({"a": pl.col("a"), "b": pl.col("b")}))


BROKEN = {
    "half of it": (lambda packed: packed[: len(packed) // 2], "cut short"),
    "a part of its header": (lambda packed: packed[:5], "cut short"),
    "no gzip": (lambda packed: b"hello", "damaged"),
    "other bytes in the middle": (lambda packed: packed[:50_000] + bytes(99) + packed[50_099:], "damaged"),
    "another checksum": (lambda packed: packed[:-8] + bytes(8), "damaged"),
}


@pytest.mark.parametrize("name", ["a.csv.gz", "a.ndjson.gz"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_packed_file_that_is_cut_short_or_damaged_is_told_as_such(tmp_path, name, what):
    breaks, says = BROKEN[what]
    frame = pl.DataFrame({"user": np.random.default_rng(0).integers(0, 2**40, 20_000), "click": 1})
    text = frame.write_csv() if ".csv" in name else frame.write_ndjson()
    (tmp_path / name).write_bytes(breaks(gzip.compress(text.encode())))
    with pytest.raises(DataError, match=rf"{name}: cannot be read \(the file is {says}: .*\): fetch it again"):
        list(open_log(tmp_path, name).frames({"user": pl.col("user")}))


def test_a_row_that_no_reader_of_csv_takes_is_named_too(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n" + "x" * 200_000 + ",3,4\n")
    with pytest.raises(DataError, match=r"a.csv: cannot be read \(row 2 is not CSV \(field larger"):
        list(open_log(tmp_path, "a.csv").frames({"a": pl.col("a"), "b": pl.col("b")}))


def test_whole_numbers_with_leading_zeros_stay_text(tmp_path):
    (tmp_path / "a.csv").write_text("article,zero,number\n0663713001,0,10\n0108775015,1,20\n")
    assert scan(tmp_path / "a.csv").collect().rows() == [("0663713001", 0, 10), ("0108775015", 1, 20)]


@pytest.mark.parametrize("line", ["1,2268318,pv,1511544070", "u1,2009-05-04T23:08:57Z,a", "1,2,3,x", "7,0.25,a,b"])
def test_a_first_line_of_values_is_seen(tmp_path, line):
    (tmp_path / "a.csv").write_text(line + "\n")
    assert nameless(tmp_path / "a.csv") == line.replace(",", ", ")


@pytest.mark.parametrize("line", ["user,item,time", ",user,item,1", "user_id,feature_2020,click"])
def test_a_first_line_of_names_is_none_of_values(tmp_path, line):
    (tmp_path / "a.csv").write_text(line + "\n")
    assert nameless(tmp_path / "a.csv") is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.zip", "x", r"a.zip: a .zip file; give .parquet"),
        ("a.parquet.gz", "x", r"a .gz file; give .parquet"),
        ("a.dat", "1::2::3\n", r"a.dat: fields are parted by ::"),
        ("a.json", ' [{"user": 1}]', r"a.json: one JSON list: write one object a line, as NDJSON: `jq -c"),
        ("a.ndjson", '\ufeff{"user": 1}', r"a.ndjson: begins with a byte order mark, .* `tail -c \+4"),
        ("a.csv", "1,2268318,pv,1511544070\n", r"a.csv: the first line holds values, not names \(1, 2268318, pv"),
    ],
)
def test_a_file_of_another_shape_says_what_to_do(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        init(tmp_path / name, tmp_path / "run.toml")


def test_files_that_are_not_one_log_are_told_apart(tmp_path):
    (tmp_path / "log_1.csv").write_text(f"user_id,video_id,time,click\n1,2,{START},1\n")
    (tmp_path / "users.csv").write_text("user_id,age\n1,9\n")
    (tmp_path / "videos.csv").write_text("video_id,author\n2,9\n")
    with pytest.raises(DataError, match=r"3 files have no column in common \(log_1.csv has user_id.*; videos.csv has"):
        open_log(tmp_path, ".")


def test_files_nearby_with_a_like_ending_are_left_alone_in_a_folder(tmp_path):
    pl.DataFrame({"user": [1]}).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "README.txt").write_text("nothing of a log")
    assert len(open_log(tmp_path.parent, tmp_path.name).files) == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.ndjson"])
def test_folders_say_values_unless_the_file_has_a_column_of_that_name(tmp_path, name):
    folder = tmp_path / "day=2024-01-01" / "hour=03" / "of=__HIVE_DEFAULT_PARTITION__" / "where=a%2Fb"
    folder.mkdir(parents=True)
    write(pl.DataFrame({"hour": [4], "user": ["x"]}), folder / name)
    told = {"hour": 4, "user": "x", "day": "2024-01-01", "of": None, "where": "a/b"}
    assert scan(folder / name).collect().to_dicts() == [told]
    log = open_log(tmp_path, "day=2024-01-01")
    assert [frame.to_dicts() for _, frame in log.frames({n: pl.col(n) for n in log.schema})] == [[told]]


def test_a_log_whose_days_and_hours_are_folders_is_read(tmp_path):
    for day in ("2024-01-01", "2024-01-02"):
        for hour in ("03", "14"):
            folder = tmp_path / "log" / f"dt={day}" / f"hour={hour}"
            folder.mkdir(parents=True)
            frame = pl.DataFrame({"user_id": [1, 2, 3] * 3, "item_id": [*range(9)], "click": [0, 1, 0] * 3})
            write(frame, folder / "part-0.parquet")
    guess = init(tmp_path / "log", tmp_path / "run.toml")
    assert guess.time == "dt"
    assert any("hour may hold the hour: join the two first" in line for line in guess.unsure)
    assert not any("folders" in line for line in guess.unsure)


def test_folders_that_say_a_value_are_parts_of_one_log(tmp_path):
    for country in ("FR", "DE"):
        (tmp_path / "log" / f"country={country}").mkdir(parents=True)
        frame = pl.DataFrame(
            {"user_id": [1, 2, 3] * 3, "item_id": [*range(9)], "time": range(START, START + 9), "click": [0, 1, 0] * 3}
        )
        write(frame, tmp_path / "log" / f"country={country}" / "part.csv")
    guess = init(tmp_path / "log", tmp_path / "run.toml")
    assert guess.unsure == []
    assert 'country = "category"' in (tmp_path / "run.toml").read_text()


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.csv.gz"])
def test_text_of_utf_16_is_told_as_such(tmp_path, name):
    data = '{"user": 1, "click": 0}\n'.encode("utf-16")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(DataError, match=rf"{name}: is UTF-16, not UTF-8: `iconv -f UTF-16 -t UTF-8"):
        init(tmp_path / name, tmp_path / "run.toml")


def test_fields_that_nothing_parts_are_told_as_one_column(tmp_path):
    (tmp_path / "a.csv").write_text("user item time click\nx y z 1\n")
    with pytest.raises(DataError, match=r"a.csv: only one column, 'user item time click': part the fields"):
        init(tmp_path / "a.csv", tmp_path / "run.toml")


def test_a_folder_of_files_that_are_read_only_where_they_are_named_says_so(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.json").write_text('{"user": 7}\n')
    (tmp_path / "logs" / "b.json").write_text('{"user": 7, "click": 1}\n')
    with pytest.raises(DataError, match=r"b.json is read only where it is named: give .*logs/b.json, or a glob"):
        init(tmp_path / "logs", tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"x": NaN}', r"row 3 is not JSON \(NaN is no number"),
        ('{"x": 1e999}', r"row 3 is not JSON \(1e999 is no number"),
        ('{"x": ' + "1" * 45 + "}", r"row 3 is not JSON \(1+ is no number"),
        ("null", "row 3 is null, not an object"),
        ("[1]", r"row 3 is \[1\], not an object"),
        ('{"x": {"a": 1}}', r"row 3 has {'a': 1} as x, which is a single value before"),
    ],
)
def test_a_row_of_json_that_only_some_readers_take_is_named(tmp_path, line, says):
    (tmp_path / "a.ndjson").write_text('{"x": 1}\n{"x": 2.5}\n' + line + "\n")
    with pytest.raises(DataError, match=f"a.ndjson: cannot be read .{says}"):
        list(open_log(tmp_path, "a.ndjson").frames({"x": pl.col("x")}))


def test_a_quote_that_is_never_closed_is_named(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n1,2\n"3,4\n5,6\n')
    with pytest.raises(DataError, match=r"a.csv: cannot be read \(row 2 is not CSV \(unexpected end"):
        list(open_log(tmp_path, "a.csv").frames({"a": pl.col("a"), "b": pl.col("b")}))
