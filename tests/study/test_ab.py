"""The closed loop: no difference where there is none, a clear one where it is plain, and every arm by itself."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marm.engine.engine import Attended
from marm.errors import SettingError
from marm.study.ab.arms import MODELS, POLICIES, read_arms
from marm.study.ab.effect import effect
from marm.study.ab.learning import Learning
from marm.study.ab.loop import Span
from marm.study.ab.page import table, write_page
from marm.study.ab.study import Test as Outcome
from marm.study.ab.study import study_ab
from marm.types import I64, U64
from marm.world import WorldConfig, simulate, write
from tests.study.test_rivals import show

SMALL = """
[{stage}.model]
layers = 2
width = 8
heads = 2
tower = 8
table_rows = 1024
[{stage}.memory]
window = 16
[{stage}.train]
threads = 1
[{stage}.stages.retrieval]
window = 8
found = 20
width = 8
table_rows = 1024
negatives = 32
[{stage}.stages.cascading]
window = 8
given = 10
table_rows = 1024
"""
BRIEF = Span(before=0.5, days=0.06, tick=600.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ab") / "world"
    write(simulate(WorldConfig(users=160, items=900, events=1600, seed=2)), folder)
    return folder


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model finds, another ranks; the one that finds gathers a user's events before it learns from them."""
    path = tmp_path_factory.mktemp("arms") / "two.toml"
    gathers = "\n[retrieval.train]\nthreads = 1\nsegment = 12\n"
    finds = SMALL.format(stage="retrieval").replace("\n[retrieval.train]\nthreads = 1\n", gathers)
    path.write_text(SMALL.format(stage="ranking") + finds)
    return path


@pytest.fixture(scope="module")
def plain(world: Path) -> tuple[Outcome, Path]:
    out = world.parent / "plain"
    return study_ab(world, "random,random,oracle", out, show, Span(before=0.5, days=0.7, tick=240.0), seed=1), out


def test_the_true_chances_beat_chance_and_chance_does_not_beat_itself(plain: tuple[Outcome, Path]) -> None:
    test, _ = plain
    same, better = test.effects["random 2"], test.effects["oracle"]
    assert same["play_time"].low < 0 < same["play_time"].high
    assert better["play_time"].low > 0.5 and better["slates"].low > 0 and better["long_views"].clear
    users = [set(one.tables[0]["user"].to_list()) for one in test.arms]
    assert set.union(*users) == set(range(160)) and sum(map(len, users)) == 160


def test_it_is_shown_and_written_and_read_again(plain: tuple[Outcome, Path], world: Path) -> None:
    test, out = plain
    page = write_page(out, test).read_text()
    assert page.count("<svg") == 2 * 6 and "http" not in page.replace("http://www.w3.org", "")
    assert "160 simulated users, 0.7 days" in page
    assert len(table(test).splitlines()) == 2 + 3
    lines = [json.loads(line) for line in (out / "effects.jsonl").read_text().splitlines()]
    assert {line["arm"] for line in lines} == {"random 2", "oracle"}
    made = {path: path.stat().st_mtime_ns for path in out.glob("arms/*/arm.json")}
    again = study_ab(world, "random,random,oracle", out, show, test.span, seed=1)
    assert again.effects == test.effects and len(made) == 3
    assert {path: path.stat().st_mtime_ns for path in out.glob("arms/*/arm.json")} == made


def test_in_pairs_the_same_policy_gives_the_same_bits(world: Path, tmp_path: Path) -> None:
    test = study_ab(world, "popularity,popularity", tmp_path, show, BRIEF, users=40, paired=True)
    first, again = (one.tables[0] for one in test.arms)
    assert first.equals(again) and first["slates"].sum() > 20
    assert test.effects["popularity 2"]["play_time"].value == 0.0
    assert "40 simulated users in every arm, " in write_page(tmp_path, test).read_text()


def live_rows(patch: pytest.MonkeyPatch) -> list[int]:
    """Of every batch that is asked, how many events stand live before it: those that wait to be learned from."""
    found: list[int] = []
    attend = Learning.attend

    def spy(self: Learning, users: U64, at: I64, items: U64) -> tuple[Attended, I64]:
        attended, queries = attend(self, users, at, items)
        found.append(sum(int(share.batch.live.sum()) for share in attended.shares))
        assert found[-1] + items.size == sum(len(share.batch) for share in attended.shares)
        return attended, queries

    patch.setattr(Learning, "attend", spy)
    return found


def test_an_arm_learns_from_its_own_users_alone_whatever_the_other_does(
    world: Path, arm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Path, pl.DataFrame]] = []
    learn = Learning.learn

    def spy(self: Learning, frame: pl.DataFrame) -> None:
        learn(self, frame)
        seen.append((self.trainer.folder, frame))
        waiting.append(len(self.trainer.stepper.waiting))
        assert self.trainer.position == len(self.log)
        everyone = self.log.originals(0, len(self.log))["user"].unique().to_list()
        users.setdefault(self.trainer.folder.name, set()).update(everyone)

    users: dict[str, set[int]] = {}
    waiting: list[int] = []
    live = live_rows(monkeypatch)
    monkeypatch.setattr(Learning, "learn", spy)
    one = study_ab(world, f"random,{arm}", tmp_path / "one", show, BRIEF, users=60)
    learned = one.arms[1].seeds[0]
    mine = set(learned.users["user"].to_list())
    assert set(users) == {"ranking", "retrieval"} and all(who <= mine for who in users.values())
    assert sum(frame.height for folder, frame in seen if folder.name == "ranking") == 6 * learned.users["slates"].sum()
    assert max(waiting) > 0 and max(live) > 0
    other = study_ab(world, f"oracle,{arm}", tmp_path / "other", show, BRIEF, users=60)
    assert other.arms[1].tables[0].equals(learned.users) and other.arms[1].seeds[0].hours.equals(learned.hours)
    assert not other.arms[0].tables[0].equals(one.arms[0].tables[0])


def test_each_model_runs_with_its_seeds_and_the_same_arm_again_with_those_after_them(
    world: Path, arm: Path, tmp_path: Path
) -> None:
    span = Span(before=0.15, days=0.06, tick=600.0)
    test = study_ab(world, f"random,{arm},{arm}", tmp_path, show, span, users=40, seed=5, paired=True, seeds=2)
    assert [[one.seed for one in tested.seeds] for tested in test.arms] == [[None], [5, 6], [7, 8]]
    tables = [table for tested in test.arms[1:] for table in tested.tables]
    assert all(table["user"].equals(tables[0]["user"]) for table in tables)
    assert not any(table.equals(tables[0]) for table in tables[1:])
    lines = [json.loads(line) for line in (tmp_path / "arms.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [None, 5, 6, 7, 8]
    assert lines[1]["config"]["models"][0]["train"]["seed"] == 5
    assert test.arms[1].mean("play_time") == pytest.approx(np.mean([line["play_time"] for line in lines[1:3]]))
    page = write_page(tmp_path, test).read_text()
    assert "2 seeds of every model" in page and "another seed" not in page


def test_an_effect_of_known_size_is_found_and_what_was_before_is_taken_out() -> None:
    rng = np.random.default_rng(0)
    before = rng.gamma(2.0, 50.0, 3000)

    def users(at: slice, lift: float) -> list[pl.DataFrame]:
        play = 3 * before[at] * lift + rng.normal(0, 5, len(before[at]))
        return [pl.DataFrame({"play_time": play, "play_time_before": before[at]})]

    one, other = users(slice(0, 1500), 1.05), users(slice(1500, 3000), 1.0)
    found = effect(one, other, "play_time", paired=False)
    assert found.low < 0.05 < found.high and found.high - found.low < 0.01
    blind = effect(
        *([table.with_columns(play_time_before=pl.lit(0.0)) for table in tables] for tables in (one, other)),
        "play_time",
        paired=False,
    )
    assert blind.high - blind.low > 5 * (found.high - found.low)
    nothing = [other[0].with_columns(play_time=pl.lit(0.0))]
    assert np.isnan(effect(one, nothing, "play_time", paired=False).low)


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.9, 1.0), (1, 0.0, 0.5)])
def test_an_interval_holds_the_seeds_of_the_models_if_there_are_several(seeds: int, least: float, most: float) -> None:
    rng, users, tries = np.random.default_rng(1), 60, 80

    def arm(play: np.ndarray) -> list[pl.DataFrame]:
        # A seed moves all users of an arm alike, and each a little by themselves.
        moved = [play + rng.normal(0, 3) + rng.normal(0, 1, users) for _ in range(seeds)]
        return [pl.DataFrame({"play_time": one, "play_time_before": np.zeros(users)}) for one in moved]

    held = 0
    for number in range(tries):
        play = rng.normal(100, 20, users)
        found = effect(arm(play), arm(play), "play_time", paired=True, seed=number)
        held += found.low < 0 < found.high
    assert least <= held / tries <= most


def test_every_named_arm_can_be_made(world: Path) -> None:
    arms = read_arms(",".join([*POLICIES, *MODELS]), world, 3)
    assert [len(arm.models) for arm in arms] == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert arms[4].models[0].model.layers == 1 and arms[5].models[0].train.seed == 3
    assert arms[6].models[0].memory.search is not None


@pytest.mark.parametrize(
    ("arms", "text", "told"),
    [
        ("marm", "", "--arms marm: give two arms or more"),
        ("marm,mram", "", "no such arm; there are feed, random"),
        ("marm,x.toml", None, "cannot be read as TOML"),
        ("marm,x.toml", "policy = 'best'", "policy = 'best': give one of"),
        ("marm,x.toml", "[ranking.data]\nlog = 'mine'", "ranking.data: the world sets that"),
        ("marm,x.toml", "[finding]\na = 1", "finding: an arm has policy, or"),
        ("marm,x.toml", "[ranking.model]\nlayerz = 1", "did you mean"),
        ("marm,x.toml", "[ranking.serve.diversity]\ncategory = 2", "the loop has none"),
    ],
)
def test_mistakes_in_arms_get_one_line(world: Path, tmp_path: Path, arms: str, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "x.toml").write_text(text)
    with pytest.raises(SettingError, match=r"^[^\n]*$") as error:
        read_arms(arms.replace("x.toml", str(tmp_path / "x.toml")), world, 0)
    assert told in str(error.value)


def test_mistakes_in_a_test_get_one_line(world: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--users 161: the world has 160"):
        study_ab(world, "random,feed", tmp_path, show, BRIEF, users=161)
    with pytest.raises(SettingError, match="give fewer days"):
        study_ab(world, "random,feed", tmp_path, show, Span(1, 31, 60), users=20)
