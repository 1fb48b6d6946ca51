"""How many events a step takes: few while the model is young, never more than set; and which it learns from."""

from pathlib import Path

import numpy as np
import torch

from marm.config import TrainConfig
from marm.data.stream import EventLog
from marm.train import run as commands
from marm.train.cut import Cut
from marm.train.setup import build
from marm.train.steps import sampled, step_size
from tests.train.logs import run_over


def test_steps_grow_with_the_stream_from_the_first_size_to_the_last() -> None:
    config = TrainConfig(first_batch=32, updates=400, micro_batch=256)
    assert [step_size(events, config) for events in (0, 12_800, 13_200, 80_000, 10**9)] == [32, 32, 33, 200, 256]


def test_a_micro_batch_below_the_first_size_holds_from_the_start() -> None:
    assert step_size(0, TrainConfig(micro_batch=8)) == 8


def test_the_same_share_of_events_is_learned_from_in_whatever_pass_they_are() -> None:
    number = np.arange(10_000)
    half = sampled(number, 3, 0.5)
    assert abs(half.mean() - 0.5) < 0.02 and (sampled(number[7:], 3, 0.5) == half[7:]).all()
    assert 0.4 < (sampled(number, 4, 0.5) == half).mean() < 0.6
    assert sampled(number, 3, 1.0).all() and not sampled(number, 3, 0.0).any()


def test_what_is_not_learned_from_is_scored_and_remembered_all_the_same(world: Path, tmp_path: Path) -> None:
    for delay in (0, "delay"):
        run = run_over(world, train={"sample": 0.0, "cut_every": 10**6}, data={"feedback_delay": delay})
        found = commands.train(run, tmp_path / str(delay), page=False)
        assert found["events"] == 200 and found["memory"]["rows"] == 200 and found["parameters"]["sparse_touched"] == 0
        torch.manual_seed(run.train.seed)
        begun = build(run, EventLog(tmp_path / str(delay) / "events"), tmp_path / "fresh", 1).engine.model
        learned = Cut(tmp_path / str(delay)).tensors("model")
        assert all(torch.equal(value, learned[name]) for name, value in begun.state_dict().items())
