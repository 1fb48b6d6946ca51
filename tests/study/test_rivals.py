"""A study trains what is not there yet, compares on the same events, and says how sure it is."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marm.config import RunConfig
from marm.errors import FolderError, SettingError
from marm.metrics import gauc
from marm.study import runs
from marm.study.compare import compare
from marm.study.grid import at, default_grid, points
from marm.study.interval import UserAucs, difference, difference_within_seeds, user_aucs
from marm.study.models import SEARCHING, chosen, laid_over
from marm.study.rivals import Study, study_rivals
from marm.study.rivals_page import table, write_page
from marm.train.run import quiet
from tests.train.folders import predictions
from tests.train.logs import log_frame, run_over, write_world

GRID = ["train.learning_rate=0.001,0.02"]


@contextmanager
def show(_: str) -> Iterator[Any]:
    yield quiet


def study(run: RunConfig, out: Path, grid: list[str] = GRID) -> Study:
    return study_rivals(run, out, show, "din", 2, grid)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    world = write_world(tmp_path_factory.mktemp("study"), log_frame(events=240))
    return run_over(world, model={"layers": 2}, train={"cut_every": 10**6, "micro_batch": 32})


@pytest.fixture(scope="module")
def done(run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    out = tmp_path_factory.mktemp("out") / "rivals"
    return out, study(run, out)


def test_each_model_is_tuned_on_the_beginning_and_trained_whole_with_every_seed(done: tuple[Path, Study]) -> None:
    out, found = done
    trials = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    assert [(t["model"], t["events"]) for t in trials] == [("din", 96), ("marm", 96)] * 2
    whole = [json.loads(line) for line in (out / "trainings.jsonl").read_text().splitlines()]
    assert [(t["model"], t["seed"], t["events"]) for t in whole] == [
        ("din", 0, 240), ("marm", 0, 240), ("din", 1, 240), ("marm", 1, 240)
    ]  # fmt: skip
    for model in found.models:
        own = [t for t in trials if t["model"] == model.name]
        assert list(model.point) == max(own, key=lambda t: t["tasks"]["click"]["gauc"])["point"]
        config = model.trained[0].result["config"]
        assert model.point == (f"train.learning_rate={config['train']['learning_rate']}",)
    assert all(line.keys() >= {"commit", "config_hash", "data_hash", "machine", "seed"} for line in whole)


def test_every_model_runs_beside_a_marm_that_compares_ids(run: RunConfig) -> None:
    model = {**run.model.model_dump(), "equal_ids": True, "token_shift": True, "raw_rows": True, "task_layers": True}
    compare_ids = {name: one.model.equal_ids for name, one in chosen(laid_over(run, {"model": model}), None).items()}
    assert {name for name, does in compare_ids.items() if not does} == {"mean", "din", *SEARCHING, "sasrec", "hstu"}


def test_a_search_that_has_nothing_to_find_is_said_to_do_as_marm_does(run: RunConfig, tmp_path: Path) -> None:
    wide = laid_over(run, {"memory": {"window": 240, "slack": 240}})
    found = study_rivals(wide, tmp_path / "wide", show, "marm + search,din", 1, [])
    assert [line for line in table(found).splitlines() if "just as marm" in line] == [
        "marm + search: ranks every event just as marm does: on this log there is nothing that sets them apart"
    ]
    assert write_page(tmp_path / "wide", found).read_text(encoding="utf-8").count("just as marm") == 1
    narrow = study_rivals(run, tmp_path / "narrow", show, "marm + search", 1, [])
    assert "just as marm" not in table(narrow)


def test_what_is_finished_is_not_trained_again(
    run: RunConfig, done: tuple[Path, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "again"
    shutil.copytree(done[0], out)
    broken = done[1].models[0].trained[1].folder
    (out / "runs" / broken.name / "result.json").unlink()
    begun = []
    monkeypatch.setattr(runs.commands, "train", lambda *_, **__: pytest.fail("trained again"))
    resume = runs.commands.resume
    monkeypatch.setattr(
        runs.commands, "resume", lambda folder, *a, **k: (begun.append(folder), resume(folder, *a, **k))[1]
    )
    again = study(run, out)
    assert [one.line()["gauc"] for one in again.models] == [one.line()["gauc"] for one in done[1].models]
    assert len(begun) == 8 and (out / "runs" / broken.name / "result.json").exists()
    text = (out / "runs" / broken.name / "run.toml").read_text()
    (out / "runs" / broken.name / "run.toml").write_text(text.replace("tower = 8", "tower = 4"))
    with pytest.raises(FolderError, match="another run than its name says"):
        study(run, out)


def test_differences_are_of_the_same_events_of_the_last_fifth(done: tuple[Path, Study]) -> None:
    for model in done[1].models:
        for one in model.trained:
            frame = predictions(one.folder)[192:]
            user = frame["user"].str.tail(-1).cast(pl.UInt64).to_numpy()
            columns = (frame[f"{name}_click"].cast(pl.Float32).to_numpy() for name in ("score", "label"))
            value = gauc(user, *columns).value
            assert user_aucs([one.folder], "click").gauc == pytest.approx(value)
            assert one.result["tasks"]["click"]["gauc"] == pytest.approx(value)


def test_new_and_warm_users_are_told_apart_by_their_events_before(done: tuple[Path, Study]) -> None:
    trained = [one for model in done[1].models for one in model.trained if one.result["seed"] == 0]
    for model in compare(trained, ["click"], "marm", 18):
        frame = predictions(model.trained[0].folder)
        warm = pl.int_range(pl.len()).over("user") >= 18
        parts = frame.with_columns(warm=warm)[192:].partition_by("warm", as_dict=True)
        assert set(parts) == {(False,), (True,)} and not frame["drawn"].any()
        for part, later in zip(model.parts, (False, True), strict=True):
            own = parts[later,]
            user = own["user"].str.tail(-1).cast(pl.UInt64).to_numpy()
            columns = (own[f"{name}_click"].cast(pl.Float32).to_numpy() for name in ("score", "label"))
            assert part.aucs.gauc == pytest.approx(gauc(user, *columns).value)
            assert (part.above is None) == (model.name == "marm") and "18" in part.past
            assert part.name == ("warm" if later else "new") and part.scored <= len(own)
    everybody = compare(trained, ["click"], "marm", 0)
    assert [[part.name for part in model.parts] for model in everybody] == [["warm"]] * 2
    assert all(model.parts[0].above == model.above.get("click") for model in everybody)


def test_an_interval_holds_the_difference_and_narrows_with_users() -> None:
    rng = np.random.default_rng(0)

    def drawn(users: int, above: float) -> tuple[UserAucs, UserAucs]:
        base, sizes = rng.random(users), rng.integers(5, 50, users)
        names = np.arange(users, dtype=np.uint64)
        noise = rng.normal(0, 0.05, (3, users))
        return UserAucs(base + above + noise, sizes, names), UserAucs(base[None].repeat(3, 0), sizes, names)

    few, many, none = (difference(*drawn(users, above)) for users, above in ((40, 0.02), (4000, 0.02), (4000, 0.0)))
    assert many.low < 0.02 < many.high and many.low > 0.01 and many.clear
    assert few.high - few.low > 5 * (many.high - many.low)
    assert none.low < 0 < none.high and not none.clear
    one, other = drawn(50, 0.0)
    assert difference(one, one).value == 0.0
    # Seeds that differ by much more than the two ways do not blur the difference of these.
    apart = np.array([[0.0], [0.1], [-0.1]])
    first, second = (UserAucs(model.aucs + apart, model.sizes, model.users) for model in drawn(400, 0.02))
    within, between = difference_within_seeds(first, second), difference(first, second)
    assert within.low > 0 > between.low and within.value == pytest.approx(between.value)
    with pytest.raises(FolderError, match="different events"):
        difference(one, UserAucs(other.aucs[:, :49], other.sizes[:49], other.users[:49]))


def test_seeds_that_differ_more_than_models_do_seldom_make_a_difference_clear() -> None:
    rng, users = np.random.default_rng(1), 100
    base, sizes, names = rng.normal(0.7, 0.1, users), np.full(users, 20), np.arange(users, dtype=np.uint64)

    def trained() -> UserAucs:
        return UserAucs(base + rng.normal(0, 0.003, (3, 1)) + rng.normal(0, 0.005, (3, users)), sizes, names)

    clear = sum(difference(trained(), trained()).clear for _ in range(100))
    assert clear < 12


def test_a_log_that_has_changed_is_not_compared(done: tuple[Path, Study]) -> None:
    trained = [one for model in done[1].models for one in model.trained]
    changed = runs.Trained(trained[0].training, trained[0].folder, trained[0].result | {"data_hash": "other"})
    with pytest.raises(FolderError, match="changed since"):
        compare([*trained[1:], changed], ["click"], "marm", 10)


def test_the_page_and_the_table_tell_what_was_measured(done: tuple[Path, Study]) -> None:
    out, found = done
    text = write_page(out, found).read_text(encoding="utf-8")
    assert "http" not in text.replace("http://www.w3.org", "") and "<script" not in text
    din = next(model for model in found.models if model.name == "din")
    gap = din.above["click"]
    assert f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})" in text
    for part in din.parts:
        assert (
            f"{part.above.value:+.4f} ({part.above.low:+.4f} to {part.above.high:+.4f})" in text and part.past in text
        )
    lines = table(found).splitlines()
    assert len(lines) == 4 and {line.split(" | ")[0] for line in lines[2:]} == {"| din", "| marm"}


def test_what_only_marm_has_is_taken_from_the_others_alone(run: RunConfig) -> None:
    models = chosen(at(run, ["memory.search.rule='dot'", "memory.store_top=true"]), None)
    assert models["marm"].memory.search and models["marm"].memory.store_top and "marm + search" not in models
    assert not any(one.memory.search or one.memory.store_top for name, one in models.items() if name != "marm")


def test_models_and_grids_that_make_no_sense_are_refused(run: RunConfig, tmp_path: Path) -> None:
    assert points(["a.b=1,2", "c.d=3"]) == [("a.b=1", "c.d=3"), ("a.b=2", "c.d=3")] and points([]) == [()]
    assert len(points(default_grid(run))) == 6
    assert at(run, ["memory.window=7"]).memory.window == 7
    models = chosen(run, None)
    assert list(models)[-1] == "marm" and models["twin"].memory.window == 4 * run.memory.window
    assert models["one layer reach"].memory.window == 2 * run.memory.window
    search, window = models["marm + search"].memory.search, run.memory.window
    assert search and search.history + models["marm + search"].memory.window == models["twin"].memory.window
    assert [name for name, one in models.items() if one.memory.search] == ["marm + search"] and search.picked == window
    assert [name for name, one in models.items() if one.memory.keys == "item"] == ["paper keys"]
    assert "paper keys" not in chosen(at(run, ["model.layers=1"]), None)
    for wrong, told in ((["rate"], "section.key"), (["train.rate=1"], "no setting")):
        with pytest.raises(SettingError, match=told):
            study(run, tmp_path, wrong)
    with pytest.raises(SettingError, match="no such model"):
        chosen(run, "dien")
    with pytest.raises(SettingError, match="as the run file sets it"):
        chosen(at(run, ["model.layers=0"]), "din")
