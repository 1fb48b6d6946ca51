from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from marm.cli.simulate import simulate as command
from marm.config import load_run
from marm.data.prepare import prepare
from marm.errors import DiskError, FolderError
from marm.world import Simulation, WorldConfig, simulate, write
from tests.world.replay import make

RECIPE = Path(__file__).parents[2] / "recipes" / "simulated.toml"


@pytest.fixture(scope="module")
def folder(still: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "simulated"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marm.world.folder._PART", 5_000)
        write(still, out)
    return out


def test_a_log_is_parts_sorted_by_time_with_the_truth_row_for_row_beside(folder: Path, still: Simulation) -> None:
    parts = sorted(file.name for file in (folder / "log").iterdir())
    assert parts == sorted(file.name for file in (folder / "truth").iterdir()) and len(parts) == 3
    log, truth = (pl.concat([pl.read_parquet(folder / kind / name) for name in parts]) for kind in ("log", "truth"))
    assert len(log) == len(truth) == 12_000
    assert log["time"].is_sorted()
    np.testing.assert_array_equal(log["item"], still.log.item[still.log.order])
    np.testing.assert_array_equal(truth["click"], still.log.truth[still.log.order, 0])
    assert log["click"].sum() == still.log.done[:, 0].sum()


def test_watch_time_is_the_ratio_times_the_duration(folder: Path) -> None:
    log = pl.read_parquet(folder / "log").join(pl.read_parquet(folder / "items.parquet"), on="item")
    np.testing.assert_allclose(log["watch_time"], log["watch_ratio"] * log["duration"], rtol=1e-5)
    assert log["duration"].is_between(2.99, 601).all()


def test_side_files_have_one_row_for_each_id(folder: Path) -> None:
    items, users = (pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "users"))
    assert items["item"].to_list() == list(range(400)) and users["user"].to_list() == list(range(40))
    assert set(items["tags"].list.len()) == {1, 2}
    assert items.null_count().row(0) == (0,) * 6


def test_the_run_file_is_ready_to_train_on(folder: Path, tmp_path: Path) -> None:
    run = load_run(folder / "run.toml")
    assert set(run.tasks) == {"click", "long_view", "like", "follow", "comment", "watch_ratio"}
    manifest = prepare(run, tmp_path / "events")
    assert manifest.rows == 12_000 and manifest.sorted and manifest.time_unit == "milliseconds"


def test_the_recipe_reads_a_log_as_the_command_makes_it(folder: Path) -> None:
    recipe, made = load_run(RECIPE), load_run(folder / "run.toml")
    assert recipe.data.path == str(RECIPE.parents[1] / "simulated")
    assert recipe.model_copy(update={"data": made.data}) == made


def test_a_content_embedding_is_a_column_and_a_feature(tmp_path: Path) -> None:
    write(make(content=4), tmp_path / "out")
    content = pl.read_parquet(tmp_path / "out" / "items.parquet")["content"]
    assert set(content.list.len()) == {4}
    assert load_run(tmp_path / "out" / "run.toml").features.item["content"].kind == "vector"


def test_a_folder_that_holds_something_is_refused(tmp_path: Path, still: Simulation) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FolderError, match="something already"):
        write(still, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path, still: Simulation) -> None:
    write(still, tmp_path)
    assert (tmp_path / "run.toml").is_file()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, still: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("marm.world.folder.users_table", full)
    with pytest.raises(DiskError, match="No space left"):
        write(still, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_what_its_options_say(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    options = ["--users", "40", "--items", "400", "--events", "12000", "--effects", "order", "--seed", "3"]
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    expected = simulate(WorldConfig(users=40, items=400, events=12_000, effects=("order",), seed=3)).log
    log = pl.read_parquet(tmp_path / "out" / "log")
    np.testing.assert_array_equal(log["watch_ratio"], expected.ratio[expected.order])
    assert "12,000 events of 40 users" in result.stdout
