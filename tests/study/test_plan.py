"""The best size within a budget, against one worked out by hand from a study whose law and latency are known."""

import json
import math
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
    assert (best.size.window, best.size.width) == by_hand(lambda n, d: user_bytes(n, d) <= 5000)
    assert best.user_bytes == user_bytes(best.size.window, best.size.width) <= 5000
    assert (
        best.gauc == pytest.approx(gauc(best.size.numbers), abs=1e-6)
        and best.low <= best.gauc + 1e-9 <= best.high + 2e-9
    )
    assert best.milliseconds == pytest.approx(milliseconds(best.size.window, best.size.width), rel=1e-6)
    counts = EventLog(folder / "events").read(0, 120).user.tolist()
    held = [min(counts.count(user), best.rows) for user in set(counts)]
    assert found.rows_now == pytest.approx(sum(held) / len(held))


def test_latency_binds_where_there_is_memory_enough(made: tuple[Path, RunConfig, Path]) -> None:
    folder, run, study = made
    budget = Budget(bytes=1e12, users=1000, milliseconds=2.0001, requests=20, events=100)
    best = plan(run, EventLog(folder / "events"), read_study(study), budget).choices[0]
    assert (best.size.window, best.size.width) == by_hand(lambda n, d: milliseconds(n, d) <= 2.0001)


def test_a_smaller_codec_buys_a_larger_window(made: tuple[Path, RunConfig, Path]) -> None:
    folder, run, study = made
    budget = Budget(bytes=1000 * 5000, users=1000, milliseconds=1000, requests=20, events=100)
    found = plan(run, EventLog(folder / "events"), read_study(study), budget, ["float32", "float16", "int8"])
    assert (
        found.choices[0].codec == "int8"
        and found.choices[0].size.numbers > by_hand(lambda n, d: user_bytes(n, d) <= 5000)[0]
    )
    wide = next(one for one in found.choices if one.codec == "float32")
    assert wide.user_bytes == user_bytes(wide.size.window, wide.size.width, number=4)


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


SEARCHED, PICKS = 60, (0, 4, 16)
WAY = {"rule": "hash", "history": SEARCHED, "bits": 64, "shared": False}


def searched_gauc(n: int, d: int, k: int) -> float:
    return gauc(2 * n * d) + 0.02 * math.log(1 + k)


def searched_milliseconds(n: int, d: int, k: int) -> float:
    return milliseconds(n, d) * (3 * k**0.5 if k else 1)


def searched_bytes(n: int, d: int, k: int) -> int:
    """A ring also holds what is searched; each row the signs of two depths, 64 bits each."""
    rows = n + LIVE + 1 + SLACK + (SEARCHED if k else 0)
    return rows * (d * 2 + facts_dtype(["shelf"], 2 if k else 0).itemsize)


@pytest.fixture(scope="module")
def searched(made: tuple[Path, RunConfig, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study like the other one, in K too."""
    out = tmp_path_factory.mktemp("searched")
    lines = [
        {"layers": 2, "window": n, "width": d, "picked": k, "search": {**WAY, "picked": k} if k else None,
         "gauc": searched_gauc(n, d, k), "milliseconds_500": searched_milliseconds(n, d, k), "flops_per_event": n + k,
         "machine": {"cores": 4}}
        for n, d, k in product((10, 20, 40, 80), (8, 16), PICKS)
    ]  # fmt: skip
    (out / "places.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


@pytest.mark.parametrize(
    ("each", "latency", "picked"),
    [
        (5000, 1000.0, 0),  # the rows that a search wants do not fit at all
        (9000, 1000.0, 16),
        (9000, 12.001, 4),  # 16 picked would take twice as long as 4, and leave no time for a window
    ],
)
def test_rows_picked_are_weighed_against_the_window(
    made: tuple[Path, RunConfig, Path], searched: Path, each: int, latency: float, picked: int
) -> None:
    folder, run, _ = made
    budget = Budget(bytes=1000 * each, users=1000, milliseconds=latency, requests=20, events=100)
    best = plan(run, EventLog(folder / "events"), read_study(searched), budget).choices[0]
    rows = {round(10 * 2 ** (i / 4)) for i in range(21)}
    widths = {max(2, round(8 * 2 ** (i / 4) / 2) * 2) for i in range(13)}
    picks = {0, 16, *(round(4 * 2 ** (i / 4)) for i in range(8))}
    fit = [
        (n, d, k)
        for n, d, k in product(rows, widths, picks)
        if searched_bytes(n, d, k) <= each and searched_milliseconds(n, d, k) <= latency
        and 2 * n * d <= 4 * 2 * 80 * 16
    ]  # fmt: skip
    hand = max(fit, key=lambda size: (round(searched_gauc(*size), 9), -searched_bytes(*size)))
    assert best.size == (2, *hand) and best.size.picked == picked
    assert best.user_bytes == searched_bytes(*hand)
    assert best.gauc == pytest.approx(searched_gauc(*hand), abs=1e-5)


def test_a_plan_says_what_a_search_reads_and_what_a_study_of_one_k_leaves_open(
    made: tuple[Path, RunConfig, Path], searched: Path
) -> None:
    folder, _, study = made
    words = ["plan", str(folder), "--bytes", "9MB", "--users", "1K", "--latency", "1s", "--study"]
    text = CliRunner().invoke(app, [*words, str(searched)]).stdout
    assert "16 picked x" in text and "each layer looks through 60 rows x 8 bytes" in text
    assert "--set memory.search.rule=hash" in text and "--set memory.search.picked=16" in text
    assert "the study has one K" in CliRunner().invoke(app, [*words, str(study)]).stdout


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
