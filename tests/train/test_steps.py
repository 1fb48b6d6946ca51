"""How many events a step takes: few while the model is young, never more than set."""

from marm.config import TrainConfig
from marm.train.steps import step_size


def test_steps_grow_with_the_stream_from_the_first_size_to_the_last() -> None:
    config = TrainConfig(first_batch=32, updates=400, micro_batch=256)
    assert [step_size(events, config) for events in (0, 12_800, 13_200, 80_000, 10**9)] == [32, 32, 33, 200, 256]


def test_a_micro_batch_below_the_first_size_holds_from_the_start() -> None:
    assert step_size(0, TrainConfig(micro_batch=8)) == 8
