"""The commands as a person types them; a mistake is one line and exit code 2."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from marm.cli.app import main
from marm.config import to_toml
from tests.train.folders import predictions, result
from tests.train.logs import FEATURES, START, log_frame, run_over, write_world

COMMANDS = [
    "init",
    "validate",
    "sort",
    "simulate",
    "train",
    "resume",
    "evaluate",
    "predict",
    "demo",
    "results",
    "memory",
]
Said = tuple[int, str, str]
"""Exit code, stdout, stderr."""


@pytest.fixture
def marm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """A command in this process."""

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["marm", *map(str, words)])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        told = capsys.readouterr()
        return int(str(code or 0)), told.out, told.err

    return run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a world, its run file, and a finished run."""
    folder = write_world(tmp_path_factory.mktemp("world"), log_frame(events=120))
    memory = {"url": "lmdb://memory"}
    (folder / "run.toml").write_text(to_toml(run_over(folder, memory=memory)), encoding="utf-8")
    done = process("train", str(folder / "run.toml"), "--out", str(folder / "run"))
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["events"] == 120 and last["tasks"]["click"]["gauc"] == result(folder / "run")["tasks"]["click"]["gauc"]
    # What people read comes before it, on the other stream.
    assert f"click: GAUC {last['tasks']['click']['gauc']:.4f}, AUC" in done.stderr and "report.html" in done.stderr
    assert "calibration_bins" not in done.stdout
    yield folder


def process(*words: str) -> subprocess.CompletedProcess[str]:
    """As a person starts it: the allocator is not set yet, so the command starts itself anew."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return subprocess.run([sys.executable, "-m", "marm", *words], capture_output=True, text=True, env=env, check=False)


def one_line(said: Said) -> str:
    """What a mistake was told by: exit code 2, one line, no traceback."""
    code, out, err = said
    assert (code, out) == (2, "") and err.count("\n") == 1 and err.startswith("marm: ")
    return err


def test_an_unknown_setting_names_its_nearest_neighbour_in_a_process_of_its_own(world: Path, tmp_path: Path) -> None:
    words = ["train", str(world / "run.toml"), "--out", str(tmp_path / "new"), "--set", "memory.widnow=9"]
    done = process(*words)
    line = one_line((done.returncode, done.stdout, done.stderr))
    assert line == f"marm: {world / 'run.toml'}: no setting memory.widnow; did you mean memory.window?\n"
    assert not (tmp_path / "new").exists()


def test_help_lists_every_command(marm: Callable[..., Said]) -> None:
    code, out, _ = marm("--help")
    assert code == 0 and all(f" {name} " in out for name in COMMANDS)


BAD: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], list[str], str]] = {
    "a column that is not there": (lambda f: f.drop("click"), [], "tasks.click: log.parquet has no column click"),
    "no rows": (lambda f: f.head(0), [], "empty log"),
    "no rows left": (lambda f: f, ['data.where="item > 999"'], "no rows with item > 999"),
    "a null id": (lambda f: f.with_columns(user=pl.lit(None, pl.String)), [], "row 1: user = null"),
    "a null time": (
        lambda f: f.with_columns(time=pl.when(pl.col("item") > 3).then("time")),
        [],
        "time = null",
    ),
    "a time that is none": (lambda f: f.with_columns(time=pl.lit("soon")), [], "time = 'soon'"),
    "an outcome that is neither 0 nor 1": (
        lambda f: f.with_columns(click=pl.lit(7)),
        [],
        "click = 7 is neither 0 nor 1",
    ),
    "one class only": (lambda f: f.with_columns(click=pl.lit(1)), [], "all 120 rows are positive"),
    "a delay below zero": (
        lambda f: f.with_columns(delay=pl.lit(-1)),
        ["data.feedback_delay=delay"],
        "delay = -1",
    ),
    "vectors of several widths": (
        lambda f: f.with_columns(query=pl.Series([[0.0] * (1 + i % 2) for i in range(120)])),
        [],
        "query",
    ),
    "a number that is text": (lambda f: f.with_columns(hour=pl.lit("noon")), [], "hour = 'noon'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_log_that_is_not_as_the_run_file_says_is_one_line_with_the_place(
    marm: Callable[..., Said], tmp_path: Path, kind: str
) -> None:
    spoil, sets, says = BAD[kind]
    folder = write_world(tmp_path / "world", spoil(log_frame(events=120)))
    context = FEATURES["context"] if kind in ("vectors of several widths", "a number that is text") else {}
    (folder / "run.toml").write_text(to_toml(run_over(folder, features={"context": context})), encoding="utf-8")
    words = [word for item in sets for word in ("--set", item)]
    assert says in one_line(marm("train", folder / "run.toml", "--out", tmp_path / "out", *words))


def test_a_mistake_about_a_name_with_a_line_break_is_one_line(marm: Callable[..., Said], tmp_path: Path) -> None:
    pl.DataFrame({"user\nid": [1, 1], "click": [0, 1]}).write_parquet(tmp_path / "log.parquet")
    said = one_line(marm("init", tmp_path / "log.parquet", "--user", "none", "--out", tmp_path / "run.toml"))
    assert "has no column none: it has user id, click" in said


def test_mistakes_about_files_and_folders_are_one_line(marm: Callable[..., Said], world: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[data")
    (tmp_path / "pairs.csv").write_text("user,thing\nu1,3\n")
    (tmp_path / "file").write_text("")
    for words, says in (
        (("train", tmp_path / "none.toml", "--out", tmp_path / "new"), "no such run file"),
        (("train", tmp_path / "broken.toml", "--out", tmp_path / "new"), "not TOML"),
        (("train", world / "run.toml", "--out", world), "not empty"),
        (("train", world / "run.toml", "--out", tmp_path / "file" / "new"), "cannot write"),
        (("train", world / "run.toml", "--out", tmp_path / "new", "--set", "train.device=tpu"), "train.device"),
        (("train", world / "run.toml", "--out", tmp_path / "other", "--set", "memory.url=redis://x"), "memory.url"),
        (("resume", tmp_path), "no run.toml"),
        (("evaluate", world / "run", "--log", tmp_path / "none.parquet"), "none.parquet"),
        (("predict", world / "run", "--pairs", tmp_path / "none.parquet"), "no such file"),
        (("predict", world / "run", "--pairs", tmp_path / "pairs.csv"), "no column item"),
        (("memory", "stats", tmp_path), "no run.toml"),
        (("results", tmp_path), "no result.json"),
        (("results", tmp_path, "--figures", "gauc,luck"), "--figures luck: no such figure"),
    ):
        assert says in one_line(marm(*words)), words


def test_a_store_of_another_model_is_one_line(marm: Callable[..., Said], world: Path, tmp_path: Path) -> None:
    url = f"memory.url=lmdb://{world / 'run' / 'memory'}"
    words = ("train", world / "run.toml", "--out", tmp_path / "new", "--set", url)
    assert "2 depths of width 8" in one_line(marm(*words, "--set", "model.width=16"))


def test_memory_stats_counts_users_rows_and_bytes(marm: Callable[..., Said], world: Path) -> None:
    code, out, _ = marm("memory", "stats", world / "run", "--json")
    told, kept = json.loads(out), result(world / "run")["memory"]
    assert code == 0 and out.count("\n") == 1
    assert {key: told[key] for key in ("users", "rows", "bytes")} == {
        key: kept[key] for key in ("users", "rows", "bytes")
    }
    assert told["facts_rows"] == 120 and [depth["depth"] for depth in told["depths"]] == [1, 2]
    assert 0 <= told["depths"][0]["age_steps_p50"] <= told["depths"][0]["age_steps_p90"]
    assert 0 < told["space"]["used"] <= told["space"]["taken"]
    code, out, _ = marm("memory", "stats", world / "run")
    assert code == 0 and f"{told['space']['used']:,} bytes used" in out
    assert f"{told['users']} users" in out


def test_evaluate_and_predict_write_a_score_for_every_row(
    marm: Callable[..., Said], world: Path, tmp_path: Path
) -> None:
    later = log_frame(seed=5, events=30).with_columns(time=pl.col("time") + 10**6)
    later.write_parquet(tmp_path / "later.parquet")
    words = ("evaluate", world / "run", "--log", tmp_path / "later.parquet", "--out", tmp_path / "scores.parquet")
    code, out, _ = marm(*words)
    assert code == 0 and json.loads(out.splitlines()[-1])["events"] == 30
    assert pl.read_parquet(tmp_path / "scores.parquet")["score_click"].is_between(0, 1).sum() == 30
    pl.DataFrame({"user": ["u1", "new"], "item": [3, 999], "time": [START, START]}).write_csv(tmp_path / "pairs.csv")
    code, out, _ = marm("predict", world / "run", "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "p.parquet")
    assert code == 0 and json.loads(out)["pairs"] == 2
    assert pl.read_parquet(tmp_path / "p.parquet").columns == ["user", "item", "time", "score_click", "score_watch"]


def test_results_are_a_table_of_runs_grouped_by_label(marm: Callable[..., Said], world: Path, tmp_path: Path) -> None:
    code, out, _ = marm("results", f"mine={world / 'run'}", "--out", tmp_path / "table.md", "--title", "Two")
    assert code == 0 and "| mine" in out
    assert f"{result(world / 'run')['tasks']['click']['gauc']:.4f}"[1:] in out
    assert (tmp_path / "table.md").read_text().startswith("\n## Two\n\n|")


def test_resume_after_the_end_prints_the_same_result(marm: Callable[..., Said], world: Path) -> None:
    code, out, _ = marm("resume", world / "run", "--quiet")
    told = json.loads(out)
    assert code == 0 and told["whole"] == result(world / "run")["whole"]
    assert predictions(world / "run").height == 120
