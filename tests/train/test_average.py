"""Averaged weights score, are what a cut has as its model, and leave those that learn alone."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from marm.nn.adam import Adam
from marm.nn.average import Average
from marm.train.cut import Cut
from marm.train.run import train
from tests.train.folders import predictions, weights
from tests.train.logs import log_frame, run_over, write_world

pytestmark = pytest.mark.usefixtures("no_report")
MODES: dict[str, dict[str, Any]] = {"at once": {}, "with a delay": {"data": {"feedback_delay": "delay"}}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("average") / "world", log_frame(events=160))


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


def trained(world: Path, folder: Path, mode: dict[str, Any], average: int, **train_: Any) -> pl.DataFrame:
    train(run_over(world, **mode, train={"average": average, "micro_batch": 8, **train_}), folder)
    return predictions(folder)


def test_the_average_is_of_no_age_at_first_and_gives_the_weights_back() -> None:
    weight = nn.Parameter(torch.tensor([0.0, 8.0]))
    average = Average([weight], steps=4)
    for step, value in enumerate((4.0, 8.0, 0.0, 4.0, 4.0), 1):
        with torch.no_grad():
            weight[0] = value
        average.take(step)
    # (0 + 4) / 2 = 2, (2 * 2 + 8) / 3 = 4, (4 * 3 + 0) / 4 = 3, then a quarter of the way each time.
    with average.scoring():
        assert weight.tolist() == [pytest.approx(3.4375), 8.0]
    assert weight.tolist() == [4.0, 8.0]
    with pytest.raises(ZeroDivisionError), average.scoring():
        raise ZeroDivisionError
    assert weight.tolist() == [4.0, 8.0]


def test_an_average_of_one_step_is_none(world: Path, tmp_path: Path, mode: dict[str, Any]) -> None:
    assert trained(world, tmp_path / "one", mode, 1).equals(trained(world, tmp_path / "none", mode, 0))


def test_a_cut_has_the_mean_of_the_weights_as_its_model_and_goes_on_with_those_that_learn(
    world: Path, tmp_path: Path, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[torch.Tensor]] = []
    step = Adam.step

    def watched(self: Adam, grads: Any) -> float:
        if not seen:
            seen.append([parameter.detach().clone() for parameter in self.parameters])
        rise = step(self, grads)
        seen.append([parameter.detach().clone() for parameter in self.parameters])
        return rise

    monkeypatch.setattr(Adam, "step", watched)
    many = trained(world, tmp_path / "mean", mode, 10**6)
    learning = Cut(tmp_path / "mean").tensors("optimizer")
    for number, last in enumerate(seen[-1]):
        assert torch.equal(learning[f"learning.{number}"], last)
    model = Cut(tmp_path / "mean").tensors("model")
    means = [torch.stack(steps).mean(0) for steps in zip(*seen, strict=True)]
    for mean in means:
        assert any(value.shape == mean.shape and torch.allclose(value, mean, atol=1e-5) for value in model.values())
    assert any((mean - last).abs().gt(1e-3).any() for mean, last in zip(means, seen[-1], strict=True))
    # What is learned, and remembered of what is learned at once, is the same with and without.
    none = trained(world, tmp_path / "none", mode, 0)
    assert not many["score_click"].equals(none["score_click"])
    if mode == MODES["at once"]:
        names = [name for name, value in weights(tmp_path / "none").items() if name.startswith("table")]
        assert names
        for name in names:
            assert torch.equal(weights(tmp_path / "none")[name], weights(tmp_path / "mean")[name])


def test_what_averages_is_a_mean_of_scores_when_weights_move_little(world: Path, tmp_path: Path) -> None:
    """To the first order, the mean of weights gives the mean of logits."""
    rate = {"learning_rate": 1e-5, "table_rate": 1e-7, "warmup": 0}
    start = trained(world, tmp_path / "start", {}, 0, **{**rate, "learning_rate": 1e-12})
    live = trained(world, tmp_path / "live", {}, 0, **rate)
    mean = trained(world, tmp_path / "mean", {}, 10**6, **rate)
    moved, half = (
        np.abs(one["score_click"].to_numpy() - start["score_click"].to_numpy())[-40:].mean() for one in (live, mean)
    )
    assert 0.3 < half / moved < 0.7
