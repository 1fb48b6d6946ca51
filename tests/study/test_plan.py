"""The best size within a budget, against one worked out by hand from a study whose law and latency are known."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from marm.cli.app import app
from marm.config import RunConfig, to_toml
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.errors import FolderError, MarmError, SettingError
from marm.memory.facts import facts_dtype
from marm.study.plan import Budget, plan, read_study
from tests.train.logs import log_frame, run_over, write_world

FACTS = facts_dtype(["shelf"]).itemsize
LIVE, SLACK = 4, 3


def gauc(c: float) -> float:
    return 0.75 - 0.6 * c**-0.35


def milliseconds(n: int, d: int) -> float:
    return float(0.1 * n**0.5 * d**0.5)


def user_bytes(n: int, d: int, number: int = 2) -> int:
    """Two layers remember one depth; a ring holds the window, the live tail, one row for token shift, and slack."""
    return (n + LIVE + 1 + SLACK) * (d * number + FACTS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig, Path]:
    """A prepared log, and a study of two layers over it whose figures follow the formulas above."""
    folder = tmp_path_factory.mktemp("plan")
    world = write_world(folder / "world", log_frame(events=120))
    sizes = {"model": {"layers": 2, "width": 8, "heads": 2}, "memory": {"window": 10, "slack": SLACK}}
    run = run_over(world, train={"live": LIVE}, **sizes)
    (folder / "run").mkdir()
    (folder / "run" / "run.toml").write_text(to_toml(run))
    prepare(run, folder / "run" / "events")
    lines: list[dict[str, Any]] = [
        {"layers": 2, "window": n, "width": d, "gauc": gauc(2 * n * d), "milliseconds_500": milliseconds(n, d),
         "flops_per_event": 1, "machine": {"cores": 4}}
        for n, d in product((10, 20, 40, 80), (8, 16))
    ]  # fmt: skip
    (folder / "study").mkdir()
    (folder / "study" / "places.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "run", run, folder / "study"


def by_hand(allowed: Callable[[int, int], bool]) -> tuple[int, int]:
    """Rows and width of the largest C of all sizes on the planner's grid, a quarter of a doubling apart."""
    rows = {round(10 * 2 ** (i / 4)) for i in range(21)}
    widths = {max(2, round(8 * 2 ** (i / 4) / 2) * 2) for i in range(13)}
    fit = [(n, d) for n, d in product(rows, widths) if allowed(n, d) and 2 * n * d <= 4 * 2 * 80 * 16]
    return max(fit, key=lambda size: (size[0] * size[1], -user_bytes(*size)))


def test_memory_binds_and_the_best_is_the_largest_that_fits(made: tuple[Path, RunConfig, Path]) -> None:
    folder, run, study = made
    budget = Budget(bytes=1000 * 5000, users=1000, milliseconds=1000, requests=20, events=100)
    found = plan(run, EventLog(folder / "events"), read_study(study), budget)
    best = found.choices[0]
    assert (best.window, best.width) == by_hand(lambda n, d: user_bytes(n, d) <= 5000)
    assert best.user_bytes == user_bytes(best.window, best.width) <= 5000
    assert best.gauc == pytest.approx(gauc(best.numbers), abs=1e-6) and best.low <= best.gauc + 1e-9 <= best.high + 2e-9
    assert best.milliseconds == pytest.approx(milliseconds(best.window, best.width), rel=1e-6)
    counts = EventLog(folder / "events").read(0, 120).user.tolist()
    held = [min(counts.count(user), best.rows) for user in set(counts)]
    assert found.rows_now == pytest.approx(sum(held) / len(held))


def test_latency_binds_where_there_is_memory_enough(made: tuple[Path, RunConfig, Path]) -> None:
    folder, run, study = made
    budget = Budget(bytes=1e12, users=1000, milliseconds=2.0001, requests=20, events=100)
    best = plan(run, EventLog(folder / "events"), read_study(study), budget).choices[0]
    assert (best.window, best.width) == by_hand(lambda n, d: milliseconds(n, d) <= 2.0001)


def test_a_smaller_codec_buys_a_larger_window(made: tuple[Path, RunConfig, Path]) -> None:
    folder, run, study = made
    budget = Budget(bytes=1000 * 5000, users=1000, milliseconds=1000, requests=20, events=100)
    found = plan(run, EventLog(folder / "events"), read_study(study), budget, ["float32", "float16", "int8"])
    assert (
        found.choices[0].codec == "int8"
        and found.choices[0].numbers > by_hand(lambda n, d: user_bytes(n, d) <= 5000)[0]
    )
    wide = next(one for one in found.choices if one.codec == "float32")
    assert wide.user_bytes == user_bytes(wide.window, wide.width, number=4)


def test_the_command_prints_its_arithmetic(made: tuple[Path, RunConfig, Path]) -> None:
    folder, _, study = made
    words = ["plan", str(folder), "--study", str(study), "--bytes", "5MB", "--users", "1K", "--latency", "30ms"]
    text = CliRunner().invoke(app, words).stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    best = told["choices"][0]
    n, d = best["window"], best["width"]
    assert f"memory.window={n}" in text and f"= {user_bytes(n, d):,} bytes a user" in text
    assert told["costs"]["read_bytes_per_s"] == pytest.approx(20 * 1000 / 86400 * user_bytes(n, d))
    assert told["costs"]["cores"] == pytest.approx(20 * 1000 / 86400 * milliseconds(n, d) / 1000 * 4, rel=1e-5)


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (["--bytes", "much"], SettingError, "--bytes much: give a number above zero"),
        (["--latency", "0ms"], SettingError, "--latency 0ms: give milliseconds above zero"),
        (["--bytes", "1KB"], SettingError, "nothing of the study's sizes fits"),
        (["--codecs", "int4"], SettingError, "--codecs int4: no such codec; there are"),
        (["--study", "nowhere"], FolderError, "name the folder of a finished `marm study scaling`"),
    ],
)
def test_mistakes_get_one_line(
    made: tuple[Path, RunConfig, Path], words: list[str], kind: type[MarmError], told: str
) -> None:
    folder, _, study = made
    usual = ["plan", str(folder), "--study", str(study), "--bytes", "5MB", "--users", "1K", "--latency", "30ms"]
    error = CliRunner().invoke(app, [*usual, *words]).exception
    assert isinstance(error, kind) and told in str(error) and "\n" not in str(error)


def test_a_study_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "places.jsonl"
    path.write_text("{}\n")
    with pytest.raises(FolderError, match="line 1 has no layers"):
        read_study(tmp_path)
    line = {
        "layers": 1,
        "window": 2,
        "width": 4,
        "gauc": 0.5,
        "milliseconds_500": 1,
        "flops_per_event": 1,
        "machine": {},
    }
    path.write_text((json.dumps(line) + "\n") * 6)
    with pytest.raises(FolderError, match="a law needs 5 of different size"):
        read_study(tmp_path)
