"""What older or missing states cost is measured on the stream as it was learned, and shown."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from marm.cli.app import app
from marm.errors import FolderError
from marm.study import age_page, misses_page
from marm.study.age import study_age
from marm.study.misses import study_misses
from marm.study.source import protocol, stream_of
from marm.train import run as commands
from tests.study.test_rivals import show
from tests.train.folders import result
from tests.train.logs import run_over, write_world


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replays")
    run = run_over(write_world(folder / "world"), data={"feedback_delay": "delay"})
    commands.train(run, folder / "run", page=False)
    return folder / "run"


def test_the_run_with_no_state_missing_is_the_run_itself(trained: Path, tmp_path: Path) -> None:
    stream = stream_of(trained, [], tmp_path)
    whole, none = study_misses(*stream, tmp_path, show, 1, (0.0, 1.0))
    told = result(trained)["tasks"]["click"]["gauc"]
    assert whole.aucs["click"].gauc == pytest.approx(told)
    # So few events may be ordered alike; their scores are not the same.
    found = [
        pl.read_parquet(tmp_path / "replays" / "seed-0" / share / "predictions.parquet") for share in ("0.0", "1.0")
    ]
    assert found[0][:160].equals(found[1][:160]) and not found[0].equals(found[1])
    assert whole.hit_rate == 1.0 and none.hit_rate < 0.9 and whole.below["click"].line() == [0, 0, 0]
    lines = [json.loads(line) for line in (tmp_path / "misses.jsonl").read_text().splitlines()]
    assert [line["hit_rate"] for line in lines] == [whole.hit_rate, none.hit_rate] and lines[0]["commit"]
    page = misses_page.write_page(tmp_path, [whole, none], protocol(*stream, 1)).read_text()
    assert page.count("<svg") == 2 and "100%" in misses_page.table([whole, none])


def test_rows_made_anew_by_weights_that_never_moved_change_no_score(trained: Path, tmp_path: Path) -> None:
    still = ["train.learning_rate=1e-30", "train.table_rate=1e-30", "memory.codec='float32'"]
    rows = study_age(*stream_of(trained, still, tmp_path), tmp_path, show, 1)["click"]
    assert sum(row.events for row in rows[1:]) == rows[0].events >= 30
    assert rows[0].steps > 0
    assert all(row.drift < 1e-5 and row.fresh == row.remembered for row in rows)


def test_rows_made_anew_by_weights_that_moved_change_scores_and_each_seed_is_scored_once(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(trained, [], tmp_path)
    found = study_age(*stream, tmp_path, show, 2)
    assert found["click"][0].drift > 1e-4
    assert [row.steps for row in found["click"][1:]] == sorted(row.steps for row in found["click"][1:])
    assert pl.read_parquet(tmp_path / "replays" / "seed-1.parquet")["fresh_click"].is_finite().all()
    page = age_page.write_page(tmp_path, found, protocol(*stream, 2)).read_text()
    assert "made anew" in page and page.count("<svg") == 4
    monkeypatch.setattr("marm.study.age.score_both_ways", lambda *_: pytest.fail("scored again"))
    assert study_age(*stream, tmp_path, show, 2) == found
    with pytest.raises(FolderError, match="of other settings"):
        stream_of(trained, ["model.width=4"], tmp_path)


def test_a_run_file_is_prepared_in_the_folder_of_the_study(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text((trained / "run.toml").read_text())
    told = ["study", "misses", str(file), "--out", str(tmp_path / "out"), "--seeds", "1", "--quiet"]
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 0, done.exception
    assert len(done.stdout.strip().splitlines()) == 2 + 6 and (tmp_path / "out" / "events").exists()
