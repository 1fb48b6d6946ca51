import math

import numpy as np
import pytest
import torch

from marm.config import ModelConfig, TaskConfig, remembered_depths
from marm.engine.batches import Drawn, ask
from marm.model.outcomes import OutcomeCodes
from marm.model.ranker import Ranker
from tests.engine.worlds import build, exposures, run_config

NAN = float("nan")
TASKS = {
    "click": TaskConfig(column="click"),
    "watch": TaskConfig(column="watch", kind="regression", weight=0.5),
    "aside": TaskConfig(column="aside", weight=0.0),
}


def ranker() -> Ranker:
    return Ranker(ModelConfig(layers=1, width=8, heads=2, tower=8, experts=2), TASKS)


@pytest.mark.parametrize(("setting", "learned"), [({}, False), ({"fade": True}, True), ({"equal_ids": True}, True)])
def test_how_rows_fade_is_learned_where_it_is_asked_for_or_ids_are_compared(setting: dict, learned: bool) -> None:
    engine = build(run_config(model=setting))
    found = {name.split(".")[2]: p.requires_grad for name, p in engine.model.named_parameters() if "fading" in name}
    assert found == {"0": learned, "1": learned, "2": learned}


def test_the_loss_is_the_weighted_sum_over_observed_outcomes() -> None:
    logit = torch.tensor([[0.0, 1.0, 5.0], [2.0, 0.0, 5.0], [1.0, -3.0, 5.0], [9.0, 9.0, 9.0]])
    label = torch.tensor([[1.0, math.e - 1, 0.0], [0.0, NAN, 1.0], [NAN, -(math.e**2 - 1), NAN], [NAN, NAN, NAN]])
    click = math.log(2) + math.log1p(math.exp(2.0))
    watch = 0.0 + 0.5 * 1.0**2
    wanted = click + 0.5 * watch
    assert ranker().loss(logit, label).item() == pytest.approx(wanted, rel=1e-6)


def test_an_outcome_that_was_not_observed_moves_no_weight() -> None:
    logit = torch.zeros(2, 3, requires_grad=True)
    ranker().loss(logit, torch.tensor([[NAN, 1.0, 1.0], [1.0, NAN, NAN]])).backward()
    moved = logit.grad
    assert moved is not None and (moved != 0).tolist() == [[False, True, False], [True, False, False]]


def test_predictions_are_probabilities_and_numbers_on_their_own_scale() -> None:
    logit = torch.tensor([[0.0, math.log(4.0), 0.0], [math.log(3.0), -math.log(4.0), 0.0]])
    wanted = torch.tensor([[0.5, 3.0, 0.5], [0.75, -3.0, 0.5]])
    torch.testing.assert_close(ranker().predict(logit), wanted)


@pytest.mark.parametrize(
    ("settings", "contrasted", "plain"),
    [
        ({"layers": 3}, 1, 2),
        ({"layers": 1}, 1, 0),
        ({"layers": 3, "task_layers": True}, 1, 4),
        ({"layers": 1, "task_layers": True}, 3, 0),
        ({"layers": 3, "contrast": False}, 0, 3),
        ({"layers": 3, "outcomes": False}, 0, 3),
    ],
)
def test_layers_that_read_embeddings_begin_with_a_contrast_and_others_take_each_row_as_it_is(
    settings: dict[str, object], contrasted: int, plain: int
) -> None:
    stack = Ranker(ModelConfig(width=8, heads=2, tower=8, experts=2, **settings), TASKS).layers  # type: ignore[arg-type]
    made = [layer.attention._worths() for layer in [*stack.layers, *stack.top]]
    assert len(made) == contrasted + plain
    codes = OutcomeCodes(TASKS)
    click = codes.decode(np.arange(len(codes), dtype=np.int16))[:, 0]
    for worth in made[:contrasted]:
        assert worth[:, click == 1].eq(1).all() and worth[:, click == 0].eq(-1).all() and not worth[:, click < 0].any()
    for worth in made[contrasted:]:
        torch.testing.assert_close(worth, torch.ones_like(worth))


def test_outcomes_begin_as_loud_however_many_tasks_there_are() -> None:
    def loudness(tasks: int) -> float:
        torch.manual_seed(0)
        named = {f"task{i}": TaskConfig(column="click") for i in range(tasks)}
        attention = (
            Ranker(ModelConfig(layers=1, width=512, heads=2, tower=8, experts=2), named).layers.layers[0].attention
        )
        return (attention.outcome_parts[1:] @ attention.outcome_rows).detach().square().mean().item()

    assert loudness(4) == pytest.approx(loudness(1), rel=0.1)


@pytest.mark.parametrize(
    ("settings", "store_top", "depths"),
    [
        ({"layers": 0}, False, 0),
        ({"layers": 0}, True, 0),
        ({"layers": 1}, False, 0),
        ({"layers": 1}, True, 1),
        ({"layers": 4}, False, 3),
        ({"layers": 4}, True, 4),
        ({"layers": 4, "memory_reads": False}, True, 0),
    ],
)
def test_all_depths_that_a_layer_reads_are_remembered_and_the_last_on_request(
    settings: dict[str, object], store_top: bool, depths: int
) -> None:
    run = run_config(model=settings, memory={"store_top": store_top})
    assert remembered_depths(run.model, store_top) == depths
    seen = exposures(0, events=10)
    engine = build(run)
    asked = ask(seen, Drawn.none(0))
    engine.memory.admit(asked.batch.users, 1)
    assert engine.attend(asked.batch).state_QKD.shape[1:] == (depths, 8)


def test_a_last_layer_for_each_task_moves_that_task_alone() -> None:
    run = run_config(model={"task_layers": True})
    engine, seen = build(run), exposures(1, events=30, users=2)
    seen = seen.pick(np.argsort(seen.user, kind="stable")[:10])
    asked = ask(seen, Drawn.none(0))
    engine.memory.admit(asked.batch.users, 1)
    with torch.no_grad():
        before = engine.attend(asked.batch).logit_QT
        assert len(engine.model.stack.top) == len(run.tasks) and len(engine.model.stack.layers) == run.model.layers - 1
        engine.model.stack.top[1].feed_forward.outward.weight.mul_(3)
        after = engine.attend(asked.batch).logit_QT
    assert torch.equal(before[:, 0], after[:, 0]) and not torch.equal(before[:, 1], after[:, 1])
