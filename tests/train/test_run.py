import gzip
import json
import shutil
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import marm
from marm.config import RunConfig, load_run
from marm.errors import DataError, FolderError, LayoutError
from marm.train import run as commands
from marm.train.opened import to_change
from marm.train.score import Scorer, predict_pairs
from tests.store import servers
from tests.train.folders import (
    assert_same_run,
    digest,
    metric_lines,
    predictions,
    remembered,
    result,
    weights,
    without_speeds,
)
from tests.train.logs import START, log_frame, run_over, write_world

LMDB = {"url": "lmdb://memory"}


def gauc(frame: pl.DataFrame, task: str) -> float | None:
    """By pairs, user by user: the definition, without sorting."""
    weighted, weight = 0.0, 0
    for _, part in frame.drop_nulls(f"label_{task}").group_by("user"):
        score, label = part[f"score_{task}"].to_numpy(), part[f"label_{task}"].to_numpy()
        wins = np.subtract.outer(score[label == 1], score[label == 0])
        if wins.size:
            weighted += len(part) * float(((wins > 0) + 0.5 * (wins == 0)).mean())
            weight += len(part)
    return weighted / weight if weight else None


def test_a_run_leaves_what_it_promises(trained: Path) -> None:
    names = {
        "run.toml",
        "cuts",
        "memory",
        "events",
        "predictions.parquet",
        "result.json",
        "metrics.jsonl",
        "report.html",
    }
    assert names <= {path.name for path in trained.iterdir()}
    told = result(trained)
    assert told["of"] == "training" and "training" in (trained / "report.html").read_text(encoding="utf-8")
    assert told["events"] == 200 and told["events_per_s"] > 0 and told["peak_rss_bytes"] > 2**20
    for part in (told["tasks"], told["whole"]):
        assert {"gauc", "auc", "logloss", "ne"} <= part["click"].keys()
        assert {"rmse", "mae"} <= part["watch"].keys()
    assert told["memory"]["users"] == 12 and told["memory"]["rows"] == len_of_rings(trained, 31)
    assert told["memory"]["hit_rate"] == [1.0, 1.0]
    assert [line["events"] for line in metric_lines(trained)][-1] == 200
    assert "<html" in (trained / "report.html").read_text(encoding="utf-8")


def len_of_rings(folder: Path, capacity: int) -> int:
    return sum(min(ring[0], capacity) for ring in remembered(folder).values())


def test_predictions_hold_each_row_of_the_log_once_with_its_ids_time_and_labels(trained: Path) -> None:
    log, made = log_frame(), predictions(trained).sort("row")
    assert made["row"].to_list() == list(range(200))
    assert made["user"].to_list() == log["user"].to_list()
    assert made["item"].cast(pl.String).to_list() == log["item"].cast(pl.String).to_list()
    assert made["time"].to_list() == log["time"].to_list()
    assert made["label_click"].to_list() == log["click"].to_list()
    assert made["label_watch"].is_null().to_list() == log["watch"].is_null().to_list()
    assert made["score_click"].is_between(0, 1).all() and not made["drawn"].any()


def test_the_figures_can_be_computed_anew_from_the_predictions(trained: Path) -> None:
    made = predictions(trained)
    assert gauc(made, "click") == pytest.approx(result(trained)["whole"]["click"]["gauc"], abs=1e-9)
    assert gauc(made.tail(40), "click") == pytest.approx(result(trained)["tasks"]["click"]["gauc"], abs=1e-9)


def test_a_folder_that_is_not_empty_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FolderError, match="not empty"):
        commands.train(run_over(world), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_resume_after_the_end_gives_the_result_again_and_changes_nothing(trained: Path) -> None:
    before = digest(trained)
    assert commands.resume(trained) == result(trained)
    assert digest(trained) == before


@pytest.mark.usefixtures("no_report")
def test_a_resume_before_the_first_cut_starts_over(world: Path, tmp_path: Path) -> None:
    run = run_over(world, memory=LMDB)
    commands.train(run, tmp_path / "whole")
    (tmp_path / "broken" / "events.tmp").mkdir(parents=True)
    (tmp_path / "broken" / "events.tmp" / "part").write_text("half")
    (tmp_path / "broken" / "run.toml").write_text((tmp_path / "whole" / "run.toml").read_text())
    commands.resume(tmp_path / "broken")
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.usefixtures("no_report")
def test_bad_data_leaves_no_folder_that_stands_in_the_way_of_the_next_try(tmp_path: Path) -> None:
    world, out = write_world(tmp_path / "world"), tmp_path / "run"
    log = world / "log.parquet"
    frame = pl.read_parquet(log)
    log.write_bytes(log.read_bytes()[:-100])
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be read"):
            commands.train(run_over(world), out)
    frame.write_parquet(log)
    commands.train(run_over(world), out)


def test_a_report_that_was_not_drawn_is_drawn_by_a_resume(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "write_report", lambda folder: None)
        commands.train(run_over(world), out)
    commands.resume(out)
    assert (out / "report.html").exists()


@pytest.mark.usefixtures("no_report")
def test_the_same_seed_gives_the_same_run_and_another_seed_another(world: Path, tmp_path: Path) -> None:
    for name, seed, threads in (("one", 1, 2), ("again", 1, 2), ("other", 2, 2)):
        commands.train(run_over(world, train={"seed": seed, "threads": threads}), tmp_path / name)
    assert_same_run(tmp_path / "one", tmp_path / "again")
    assert not predictions(tmp_path / "one").equals(predictions(tmp_path / "other"))


MODES = {
    "delay": {"data": {"feedback_delay": "delay"}},
    "segments": {
        "data": {"feedback_delay": 90.0},
        "memory": {"codec": "float32"},
        "train": {"segment": 3, "segment_after": 600.0},
    },
    "filtered": {"data": {"history": "click = 1", "feedback_delay": "delay"}},
    "negatives": {"negatives": {"per_event": 2, "recent": 50}},
    "budget": {"memory": {"budget": 2000}},
    "two passes": {"train": {"passes": 2}},
    "outcomes that rows do not carry": {
        "tasks": {
            "click": {"column": "click", "history": False},
            "watch": {"column": "watch", "kind": "regression", "history": False},
        }
    },
    "a layer for each task": {"model": {"task_layers": True, "token_shift": True}},
    "no history": {"model": {"layers": 0}},
    "nothing remembered": {"model": {"memory_reads": False, "raw_rows": True}},
}


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_the_same_wherever_its_memory_lies(world: Path, tmp_path: Path, mode: str) -> None:
    sections = MODES[mode]
    for name, url in (("arena", "arena://"), ("lmdb", "lmdb://memory")):
        memory = {**sections.get("memory", {}), "url": url}
        commands.train(run_over(world, **{**sections, "memory": memory}), tmp_path / name)
    assert predictions(tmp_path / "arena").equals(predictions(tmp_path / "lmdb"))
    assert remembered(tmp_path / "arena") == remembered(tmp_path / "lmdb")
    first, second = weights(tmp_path / "arena"), weights(tmp_path / "lmdb")
    assert all(torch.equal(first[name], second[name]) for name in first)
    scored = predictions(tmp_path / "lmdb")
    assert scored.select(pl.col("^score_.*$").is_finite().all()).row(0) == (True, True)
    assert sorted(scored.filter(~pl.col("drawn"))["row"]) == list(range(200))


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("mode", ["plain", "delay", "budget"])
def test_a_small_hot_arena_forces_cuts_and_changes_nothing(tmp_path: Path, mode: str) -> None:
    sections = MODES.get(mode, {})
    world = write_world(tmp_path / "world", log_frame(users=30))
    cuts = {}
    for name, hot in (("small", 11 * 31 * 80), ("large", 2**20)):
        memory = {**LMDB, **sections.get("memory", {}), "hot": hot}
        train = {"micro_batch": 6, "live": 6, "cut_every": 10**6}
        commands.train(run_over(world, **{**sections, "memory": memory, "train": train}), tmp_path / name)
        cuts[name] = max(int(path.name) for path in (tmp_path / name / "cuts").iterdir())
    assert cuts["small"] > cuts["large"] == 1
    assert predictions(tmp_path / "small").equals(predictions(tmp_path / "large"))
    assert remembered(tmp_path / "small") == remembered(tmp_path / "large")


@pytest.mark.usefixtures("no_report")
def test_a_second_pass_learns_more_and_scores_nothing_anew(world: Path, tmp_path: Path) -> None:
    for passes in (1, 2):
        commands.train(run_over(world, train={"passes": passes}), tmp_path / str(passes))
    assert predictions(tmp_path / "1").equals(predictions(tmp_path / "2"))
    assert result(tmp_path / "2")["events"] == 400
    lines = [[without_speeds(line) for line in metric_lines(tmp_path / name)] for name in ("1", "2")]
    assert lines[0] == lines[1]
    first, second = weights(tmp_path / "1"), weights(tmp_path / "2")
    assert not torch.equal(first["table.weight"], second["table.weight"])
    # Memory is cleared in between: the same events are remembered, not twice as many.
    rings = [{user: ring[0] for user, ring in remembered(tmp_path / name).items()} for name in ("1", "2")]
    assert rings[0] == rings[1]


@pytest.mark.usefixtures("no_report")
def test_a_budget_keeps_the_states_of_whom_was_seen_last_and_moves_nothing_before_it_bites(
    world: Path, tmp_path: Path
) -> None:
    commands.train(run_over(world, memory={**LMDB, "budget": 32 * 100}), tmp_path / "small")
    commands.train(run_over(world, memory=LMDB), tmp_path / "large")
    told = result(tmp_path / "small")["memory"]
    rings = remembered(tmp_path / "small")
    states = sum(min(ring[0] - ring[1], 31) for ring in rings.values())
    assert told["users_dropped"] > 0 and told["rows"] == states <= 100 and told["hit_rate"][0] < 1
    assert {u: ring[0] for u, ring in rings.items()} == {
        u: ring[0] for u, ring in remembered(tmp_path / "large").items()
    }
    small, large = predictions(tmp_path / "small"), predictions(tmp_path / "large")
    assert small.head(100).equals(large.head(100)) and not small.equals(large)
    kept = {ring[2] for ring in rings.values() if ring[0] > ring[1]}
    assert min(kept) > max(ring[2] for ring in rings.values() if ring[0] == ring[1])


@pytest.mark.usefixtures("no_report")
def test_a_store_of_another_layout_is_refused(world: Path, tmp_path: Path) -> None:
    url = f"lmdb://{tmp_path / 'shared'}"
    commands.train(run_over(world, memory={"url": url}), tmp_path / "one")
    held = digest(tmp_path / "shared")
    with pytest.raises(LayoutError, match=r"2 depths of width 8 .*this model reads.*memory\.url"):
        commands.train(run_over(world, memory={"url": url}, model={"layers": 4}), tmp_path / "other")
    assert digest(tmp_path / "shared") == held


@pytest.mark.usefixtures("no_report")
def test_a_store_that_holds_another_runs_rows_is_refused(world: Path, tmp_path: Path) -> None:
    memory = {"url": f"lmdb://{tmp_path / 'shared'}"}
    commands.train(run_over(world, memory=memory), tmp_path / "one")
    with pytest.raises(FolderError, match="already holds"):
        commands.train(run_over(world, memory=memory), tmp_path / "other")


def later_log(rows_of_each: int = 1) -> pl.DataFrame:
    """New events of the same users after the world's log, in rounds."""
    frame = log_frame(seed=9, events=12 * rows_of_each)
    users = [f"u{u}" for _ in range(rows_of_each) for u in range(12)]
    time = pl.Series(START + 100_000 + np.arange(len(frame)) * 7)
    return frame.with_columns(user=pl.Series(users), time=time)


def evaluated(trained: Path, log: Path, frozen: bool, out: Path) -> pl.DataFrame:
    run = commands.run_of(trained)
    # Steps of few users and a hot arena for hardly more, so that rows have to leave it.
    laid_over = {"data": {"log": str(log)}, "memory": {"hot": 8 * 31 * 80}, "train": {"micro_batch": 6}}
    parts = {name: getattr(run, name).model_copy(update=values) for name, values in laid_over.items()}
    run = run.model_copy(update=parts)
    told = commands.evaluate(trained, run, frozen, predictions=out)
    made = pl.read_parquet(out).sort("row")
    assert told["events"] == len(made)
    wanted = gauc(made, "click")
    assert told["whole"]["click"]["gauc"] == (wanted and pytest.approx(wanted, abs=1e-9))
    return made


@pytest.mark.parametrize("url", ["arena://", "lmdb://memory", "redis://"])
def test_an_evaluation_learns_nothing_and_leaves_the_folder_as_it_was(
    world: Path, trained: Path, tmp_path: Path, url: str, no_report: None
) -> None:
    in_lmdb = trained
    if url != "lmdb://memory":
        trained, url = tmp_path / "run", servers.single().url() if url == "redis://" else url
        commands.train(run_over(world, memory={"url": url}), trained)
    later_log(9).write_parquet(tmp_path / "later.parquet")
    before, rings = digest(trained), remembered(trained)
    first = evaluated(trained, tmp_path / "later.parquet", False, tmp_path / "a.parquet")
    second = evaluated(trained, tmp_path / "later.parquet", False, tmp_path / "b.parquet")
    assert first.equals(second) and digest(trained) == before and remembered(trained) == rings
    assert first.equals(evaluated(in_lmdb, tmp_path / "later.parquet", False, tmp_path / "d.parquet"))
    frozen = evaluated(trained, tmp_path / "later.parquet", True, tmp_path / "c.parquet")
    assert digest(trained) == before
    # A frozen run carries the newest six events live: the same as remembering them, until there are more.
    early, late = slice(0, 7 * 12), slice(8 * 12, 9 * 12)
    np.testing.assert_allclose(frozen["score_click"][early], first["score_click"][early], atol=1e-5)
    assert not np.allclose(frozen["score_click"][late], first["score_click"][late], atol=1e-5)


def test_an_evaluation_that_is_broken_off_lets_go_of_the_store(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "run"))

    def break_off(done: dict[str, Any]) -> None:
        if "events" in done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.evaluate(folder, load_run(folder / "run.toml"), frozen=True, progress=break_off)
    with to_change(folder) as opened:  # which a store that is open to read only would refuse
        assert opened.store.last_cut() == opened.cut.number


def test_an_evaluation_of_what_was_learned_says_so_and_one_of_later_events_does_not(
    trained: Path, tmp_path: Path
) -> None:
    said: list[dict[str, Any]] = []
    run = load_run(trained / "run.toml")
    commands.evaluate(trained, run, progress=said.append)
    assert any("their figures are too good" in told.get("trouble", "") for told in said)
    said.clear()
    later_log().write_parquet(tmp_path / "later.parquet")
    commands.evaluate(
        trained, load_run(trained / "run.toml", [f"data.log={tmp_path / 'later.parquet'}"]), progress=said.append
    )
    assert not any("trouble" in told for told in said)


def test_an_evaluation_and_a_request_after_the_last_event_agree(trained: Path, tmp_path: Path) -> None:
    log = later_log()
    log.write_parquet(tmp_path / "later.parquet")
    wanted = evaluated(trained, tmp_path / "later.parquet", False, tmp_path / "out.parquet")
    scorer = marm.open(trained)
    predict_pairs(scorer, tmp_path / "later.parquet", tmp_path / "pairs.parquet")
    made = pl.read_parquet(tmp_path / "pairs.parquet")
    np.testing.assert_allclose(made["score_click"], wanted["score_click"], atol=1e-6)
    np.testing.assert_allclose(made["score_watch"], wanted["score_watch"], atol=1e-5)
    for i, row in enumerate(log.head(4).iter_rows(named=True)):
        beside = {name: row[name] for name in ("page", "hour", "query", "shelf")}
        one = scorer.score(row["user"], [row["item"], 3], row["time"], beside)
        assert one["watch"].shape == (2,)
        assert one["click"][0] == pytest.approx(made["score_click"][i], abs=1e-6)
    scorer.close()


@pytest.mark.parametrize("name", ["pairs.parquet", "pairs.csv.gz", "pairs.ndjson"])
def test_pairs_that_are_damaged_are_told_in_one_line(trained: Path, tmp_path: Path, name: str) -> None:
    text = pl.DataFrame({"user": ["u1"] * 999, "item": range(999)}).write_csv().encode()
    (tmp_path / name).write_bytes(gzip.compress(text)[:-40] if name.endswith("gz") else text)
    with closing(Scorer(trained)) as scorer, pytest.raises(DataError, match=rf"{name}: cannot be read \("):
        predict_pairs(scorer, tmp_path / name, tmp_path / "out.parquet")


READS = {
    "csv": pl.read_csv,
    "tsv": partial(pl.read_csv, separator="\t"),
    "ndjson": pl.read_ndjson,
    "pq": pl.read_parquet,
}


@pytest.mark.parametrize("ending", READS)
def test_scores_and_predictions_are_written_as_their_name_says(trained: Path, tmp_path: Path, ending: str) -> None:
    later_log().write_parquet(tmp_path / "later.parquet")
    later = load_run(trained / "run.toml", [f"data.log={tmp_path / 'later.parquet'}"])
    pairs, out = tmp_path / "pairs.parquet", tmp_path / f"scores.{ending}"
    later_log().drop("query").write_parquet(pairs)
    with closing(Scorer(trained)) as scorer:
        for name in (tmp_path / "scores.parquet", out):
            assert predict_pairs(scorer, pairs, name) == later_log().height
            commands.evaluate(trained, later, predictions=name.with_stem("evaluated"))
    for name in ("scores", "evaluated"):
        made = READS[ending](tmp_path / f"{name}.{ending}")
        wanted = pl.read_parquet(tmp_path / f"{name}.parquet")
        assert made.columns == wanted.columns
        np.testing.assert_allclose(made["score_click"], wanted["score_click"], rtol=1e-6)


def test_a_file_that_cannot_hold_the_scores_is_refused_and_nothing_is_left(trained: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.parquet"
    later_log().write_parquet(pairs)
    with closing(Scorer(trained)) as scorer:
        for name, message in (
            ("s.csv", r"s.csv: CSV holds no lists, as column query has: give .parquet or .ndjson"),
            ("s.csv.gz", r"s.csv.gz: a .gz is read, never written"),
            ("scores", r"scores: a file whose name has no ending; give .parquet"),
        ):
            with pytest.raises(DataError, match=message):
                predict_pairs(scorer, pairs, tmp_path / name)
    with pytest.raises(DataError, match="no ending"):
        commands.evaluate(trained, load_run(trained / "run.toml"), predictions=tmp_path / "scores")
    assert list(tmp_path.iterdir()) == [pairs]


def test_pairs_of_more_users_than_the_hot_arena_holds_are_scored_in_portions(trained: Path) -> None:
    frame, hot = log_frame(seed=7, events=90), 4000
    with closing(Scorer(trained)) as roomy, closing(Scorer(trained, with_hot(trained, hot))) as tight:
        assert 0 < tight.engine.memory.hot.slots < frame["user"].n_unique() // 2
        np.testing.assert_allclose(tight.score_frame(frame, "log"), roomy.score_frame(frame, "log"), atol=1e-6)


def with_hot(folder: Path, hot: int) -> RunConfig:
    run = commands.run_of(folder)
    return run.model_copy(update={"memory": run.memory.model_copy(update={"hot": hot})})


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("mode", ["plain", "delay", "filtered", "a layer for each task"])
def test_with_weights_that_stand_still_a_score_at_a_past_time_is_the_one_made_then(tmp_path: Path, mode: str) -> None:
    """Trainer and server see the same of the past: neither more, nor less."""
    world = write_world(tmp_path / "world", log_frame(events=150))
    sections = MODES.get(mode, {})
    train = {**sections.get("train", {}), "learning_rate": 1e-30, "table_rate": 1e-30}
    memory = {"slack": 150, "codec": "float32"}
    commands.train(
        run_over(world, **{**sections, "train": train, "memory": {"url": "arena://", **memory}}), tmp_path / "run"
    )
    scorer = Scorer(tmp_path / "run")
    made = scorer.score_frame(log_frame(events=150), "log")
    scorer.close()
    wanted = predictions(tmp_path / "run").sort("row")
    np.testing.assert_allclose(made[:, 0], wanted["score_click"], atol=1e-5)
    np.testing.assert_allclose(made[:, 1], wanted["score_watch"], atol=1e-5)
    assert np.ptp(made[:, 0]) > 1e-3


@pytest.mark.usefixtures("no_report")
def test_before_its_first_event_a_user_is_one_nobody_has_seen(world: Path, tmp_path: Path) -> None:
    features = {"item": {"brand": "category", "genres": "tags"}}
    sections = {"model": {"user_id": False}, "features": features, "data": {"users": None}}
    commands.train(run_over(world, **sections), tmp_path / "run")
    scorer = marm.open(tmp_path / "run")
    items = list(range(20))
    early, late = scorer.score("u3", items, at=START - 1), scorer.score("u3", items)
    never = scorer.score("nobody", items)
    scorer.close()
    np.testing.assert_array_equal(early["click"], never["click"])
    assert not np.allclose(early["click"], late["click"])


@pytest.mark.usefixtures("no_report")
def test_the_functions_of_the_package_can_be_called_again_and_again(world: Path, tmp_path: Path) -> None:
    """``marm.train`` is a function and a package; the package must not take its place."""
    for name in ("one", "two"):
        told = marm.train(run_over(write_world(tmp_path / "world", log_frame(events=40))), tmp_path / name)
        assert told["events"] == 40
    with pytest.raises(FolderError, match=r"no run\.toml"):
        marm.open(tmp_path / "world")


def test_the_run_file_in_the_folder_reads_back_to_the_same_run(world: Path, trained: Path) -> None:
    assert commands.run_of(trained) == run_over(world, memory=LMDB)
    assert json.loads(json.dumps(result(trained)["config"])) == run_over(world, memory=LMDB).model_dump(mode="json")
