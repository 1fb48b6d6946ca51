"""What a target costs is measured on full histories, and grows as the shapes say."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from marm.cli.app import app
from marm.errors import SettingError
from marm.rivals import make_reader
from marm.study import complexity
from marm.study.complexity import Setting, along, flops_of, history, measure, run_of, slope, study_complexity
from marm.study.complexity_page import figures_of, growth

WINDOWS, LAYERS = [64, 256, 1024], [1, 2, 4]


@pytest.fixture
def _untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complexity, "_least", lambda _: 1.0)


@pytest.mark.usefixtures("_untimed")
def test_memory_costs_in_proportion_to_window_and_layers_and_the_others_with_a_square(tmp_path: Path) -> None:
    costs = study_complexity(tmp_path, WINDOWS, LAYERS, 8, 2, lambda *_: None)
    lines = [json.loads(line) for line in (tmp_path / "costs.jsonl").read_text().splitlines()]
    assert len(lines) == len(costs) == 3 * (len(WINDOWS) + len(LAYERS) - 1)
    assert all(line["commit"] and line["machine"] for line in lines)

    def grows(way: str, axis: str, other: str, at: int) -> float:
        return slope(along(costs, way, axis, other, at)[-2:], axis, lambda cost: cost.flops)

    few, some, many = (cost.flops for cost in along(costs, "MARM", "window", "layers", 2))
    assert (many - some) / (1024 - 256) == pytest.approx((some - few) / (256 - 64), rel=0.01)
    assert 0.8 < grows("MARM", "window", "layers", 2) < 1
    assert grows("MARM", "layers", "window", 256) == pytest.approx(1, abs=0.01)
    for way in ("self-attention", "recomputed"):
        assert 1.7 < grows(way, "window", "layers", 2) < 2
    assert 1.9 < grows("recomputed", "layers", "window", 256) < 2
    assert len(figures_of(costs)[1]) == 5 and len(growth(costs)[1]) == 3


@pytest.mark.parametrize("way", complexity.WAYS)
def test_every_target_has_a_full_history_of_its_own(way: str) -> None:
    setting = Setting(way, 6, 2, 8, 3)
    run = run_of(setting)
    passed = history(setting, run.depths)
    views = passed.views
    assert (views.end - views.begin == 6).all() and len(passed.item_of_row) == 3 * setting.rows
    reader = make_reader(run)
    with torch.no_grad():
        told_QD = reader(torch.randn(complexity.ITEMS, 8), passed).told[-1]
    assert told_QD.shape == (3, 8) and torch.isfinite(told_QD).all()
    cost = measure(setting)
    assert cost.milliseconds > 0 and cost.flops == flops_of(reader, setting) // 3


@pytest.mark.usefixtures("_untimed")
def test_the_command_prints_a_table_and_writes_a_page(tmp_path: Path) -> None:
    told = ["study", "complexity", "--out", str(tmp_path), "--windows", "4,8", "--layers", "1,2", "--width", "8"]
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 0 and len(done.stdout.strip().splitlines()) == 2 + 3
    text = (tmp_path / "report.html").read_text()
    assert text.count("<svg") == 8 and "recomputed / MARM, time" in text
    wrong = CliRunner().invoke(app, [*told[:5], "a", *told[6:]])
    assert isinstance(wrong.exception, SettingError)
