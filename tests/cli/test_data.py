import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from marm.cli import data
from marm.config import load_run
from tests.data.logs import START, write_log

app = typer.Typer()
app.command()(data.init)
app.command()(data.validate)
app.command()(data.sort)


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


def test_sort_writes_a_sorted_file_and_says_how_many_rows(run, tmp_path):
    write_log(tmp_path, time=[START + 3, START + 1, START + 2, START])
    sorted_ = run("sort", "log.parquet", "out.parquet", "--time", "time")
    assert "wrote 4 rows to out.parquet" in sorted_.stderr
    assert pl.read_parquet(tmp_path / "out.parquet")["time"].to_list() == [START, START + 1, START + 2, START + 3]
