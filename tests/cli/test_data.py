import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from marm.cli import data
from marm.config import load_run
from marm.errors import FolderError
from tests.data.logs import START, write_log

app = typer.Typer()
app.command()(data.init)
app.command()(data.validate)
app.command()(data.sort)
app.command()(data.explode)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path)

    def invoke(*words):
        return CliRunner().invoke(app, list(words))

    return invoke


def test_init_writes_a_run_file_that_validate_accepts(run, tmp_path):
    made = run("init", "log.parquet")
    assert made.exit_code == 0
    assert "wrote run.toml" in made.stderr
    assert load_run(tmp_path / "run.toml").tasks["click"].column == "click"
    checked = run("validate", "run.toml")
    assert checked.exit_code == 0
    assert "the data can be used as it is" in checked.stderr
    assert "50.00%" in checked.stderr


def test_validate_ends_with_2_and_the_whole_line_of_an_error(run):
    run("init", "log.parquet")
    checked = run("validate", "run.toml", "--set", 'data.where="item > 99"')
    assert checked.exit_code == 2
    assert "log.parquet: empty log (no rows with item > 99): set data.log" in checked.stderr


def test_validate_prints_brackets_of_a_log_as_they_are(run, tmp_path):
    write_log(tmp_path, click=["[red]", "0", "1", "1"])
    (tmp_path / "run.toml").write_text(
        '[data]\nlog = "log.parquet"\nuser = "user"\nitem = "item"\ntime = "time"\n[tasks.click]\ncolumn = "click"\n'
    )
    checked = run("validate", "run.toml")
    assert "click = '[red]' is not a number" in checked.stderr


def test_names_with_line_breaks_are_told_in_one_line(run, tmp_path):
    frame = write_log(tmp_path).rename({"item": "item\nid"}).with_columns(pl.Series("product\nid", [3, 4, 3, 4]))
    frame.write_parquet(tmp_path / "log.parquet")
    made = run("init", "log.parquet")
    assert "user user, item item id, time time; tasks: click\n" in made.stderr
    assert "unsure the item is item id; product id looks like it too\n" in made.stderr
    frame.with_columns(pl.lit(None, pl.Int64).alias("item\nid")).write_parquet(tmp_path / "log.parquet")
    assert "item id = null (4 such rows)" in run("validate", "run.toml").stderr


def test_sort_writes_a_sorted_file_and_says_how_many_rows(run, tmp_path):
    write_log(tmp_path, time=[START + 3, START + 1, START + 2, START])
    sorted_ = run("sort", "log.parquet", "out.parquet", "--time", "time")
    assert "wrote 4 rows to out.parquet" in sorted_.stderr
    assert pl.read_parquet(tmp_path / "out.parquet")["time"].to_list() == [START, START + 1, START + 2, START + 3]


def test_explode_says_what_it_read_what_it_lost_and_what_to_run_next(run, tmp_path):
    lists = {"items_shown": [[7, 8], [9], None, [7, 9]], "items_clicked": [[8], [5, 9], [7], []]}
    log = pl.DataFrame({"user": [1, 2, 1, 2], "time": [START + at for at in range(4)], **lists})
    log.with_columns(tags=pl.Series([[1, 2, 3]] * 4)).write_parquet(tmp_path / "slates.parquet")
    made = run("explode", "slates.parquet", "rows.parquet")
    assert made.exit_code == 0
    assert made.stderr.splitlines() == [
        "items_shown holds items: each is item_id; click by items_clicked",
        "left out, as lists without a value for each item: tags",
        "1 row of the log without items (1 with a clicked one): left out",
        "1 id of items_clicked not among the items of the same row, first slates.parquet row 2: items_clicked = '5': "
        "no click is made of such",
        "wrote 5 rows of 3 lists to rows.parquet: now run `marm init rows.parquet --item item_id`",
    ]
    assert run("init", "rows.parquet", "--item", "item_id").exit_code == 0
    assert run("validate", "run.toml").exit_code == 0


def test_explode_takes_columns_and_a_name_instead_of_guesses(run, tmp_path):
    log = pl.DataFrame({"user": [1], "saw": ["a|b"], "took": ["b"], "kept": ["a"]})
    log.write_parquet(tmp_path / "slates.parquet")
    words = ("explode", "slates.parquet", "rows.parquet", "--list", "saw", "--clicked", "took", "--clicked", "kept")
    assert run(*words, "--item", "thing").exit_code == 0
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert rows.rows() == [(1, "a", 0, 1, 1), (1, "b", 1, 0, 2)]
    assert rows.columns == ["user", "thing", "is_took", "is_kept", "position"]
    assert isinstance(run(*words).exception, FolderError)
    assert run(*words, "--force").exit_code == 0
