"""What holds of every reader: nothing later moves it, what it multiplies is counted, its runs are like any others."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import marm
from marm.config import RunConfig, load_run
from marm.config.rivals import Kind
from marm.engine.batch import Batch
from marm.engine.batches import Drawn, ask
from marm.engine.engine import Engine
from marm.errors import SettingError
from marm.model.ranker import Ranker
from marm.model.reader import Size
from marm.nn import attention as attending
from marm.nn.dense import steady_rows
from marm.train.run import evaluate
from tests.engine.worlds import build, exposures, run_config, segment_through
from tests.rivals.story import Story
from tests.train.folders import predictions
from tests.train.logs import log_frame, run_over, write_world
from tests.train.test_leak import grown, shuffled

KINDS = get_args(Kind)
RIVALS = [kind for kind in KINDS if kind != "marm"]
pytestmark = pytest.mark.usefixtures("no_report")


def run_of(world: Path, kind: str, **train: Any) -> RunConfig:
    train = {"micro_batch": 32, "cut_every": 10**6, **train}
    rival = {"picked": 4, "newest": 1, "bits": 8}
    return run_over(world, model={"kind": kind, "layers": 2}, rival=rival, train=train)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("rivals"), log_frame(events=120))


@pytest.mark.parametrize("kind", RIVALS)
def test_nothing_after_t_moves_a_prediction_up_to_t(kind: str, world: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(world / "log.parquet")
    t = int(frame["time"][70])
    altered = write_world(tmp_path / "world", grown(shuffled(frame, t, ["user", "item", "click", "shelf"]), t))
    scored = []
    for name, log in (("one", world), ("other", altered)):
        marm.train(run_of(log, kind), tmp_path / name)
        scored.append(predictions(tmp_path / name).select(pl.exclude("^label_.*$")))
    early = [frame.filter(pl.col("time") <= t) for frame in scored]
    assert len(early[0]) > 65 and early[0].equals(early[1])
    assert not scored[0].equals(scored[1])


@pytest.mark.parametrize("kind", RIVALS)
def test_a_query_is_the_same_bits_whatever_longer_histories_are_asked_beside_it(kind: str) -> None:
    story = Story(kind, events=300, model={"width": 32, "heads": 2}, memory={"window": 70}, rival={"picked": 40})
    # Padded as the engine pads a pass.
    early, late = [*range(60), *[0] * 68], [*range(60), *range(240, 300), *[0] * 8]
    with torch.no_grad(), steady_rows():
        one, other = (story.reader(story.item_UD, story.of(events)) for events in (early, late))
    for alone, beside in zip([*one.told, *one.heard], [*other.told, *other.heard], strict=True):
        assert torch.equal(alone[:60], beside[:60])


@pytest.mark.parametrize("kind", ["din", "recompute"])
def test_a_rivals_run_is_evaluated_and_scores_like_any_other(kind: str, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = marm.train(run_of(world, kind), out)
    assert result["memory"]["hit_rate"] == [] and result["flops_per_event"] > 0
    assert json.loads((out / "result.json").read_text())["config"]["model"]["kind"] == kind
    again = evaluate(out, load_run(out / "run.toml"))
    assert again["tasks"]["click"]["events"] == result["tasks"]["click"]["events"]
    scorer = marm.open(out)
    scores = scorer.score("u1", [1, 2, 3])
    scorer.close()
    assert len(set(scores["click"].tolist())) == 3 and np.isfinite(scores["watch"]).all()


@pytest.mark.parametrize("sections", [{}, {"model": {"token_shift": True, "raw_rows": True, "equal_ids": True}}])
def test_a_full_recompute_is_marm_with_nothing_stale(sections: dict[str, Any]) -> None:
    """With frozen weights, what is remembered and what is made anew are the same."""
    seen = exposures(3, events=50, users=2, delay=3)
    logits = []
    for kind in ("marm", "recompute"):
        model = sections.get("model", {}) | {"kind": kind}
        engine = build(run_config(model=model, memory={"window": 4}))
        logits.append(segment_through(engine, seen, np.arange(1, 30, 3))[0])
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-5)
    assert engine.run.reach == 12 + 64


def test_a_full_recompute_learns_through_the_states_of_its_rows() -> None:
    engine = build(run_config(model={"kind": "recompute", "layers": 2}))
    seen = exposures(0, events=20, users=1)
    early, late = seen.pick(np.arange(15)), seen.pick(np.arange(15, 20))
    _remember(engine, early)
    share = engine.attend(_batch(late)).shares[0]
    share.output.logit_QT[:5].sum().backward()
    gradient = engine.model.stack.layers.layers[0].feed_forward.inward.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0
    # Rows of events before the batch pass gradient on to the embeddings of what they saw.
    moved = share.leaves[0].embedded.grad
    assert moved is not None and (moved.abs().sum(1) > 0).sum() > len(np.unique(late.item)) + 2


def _remember(engine: Engine, seen: Any) -> None:
    with torch.no_grad():
        engine.memory.admit(np.unique(seen.user), 1)
        attended = engine.attend(_batch(seen))
    engine.remember(seen, attended.state_QKD, 0)


def _batch(seen: Any) -> Batch:
    return ask(seen, Drawn.none(0)).batch


@pytest.mark.parametrize("kind", [*KINDS, "token shift"])
def test_the_multiplications_of_a_pass_are_those_that_torch_counts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every query of the pass sees a full window."""
    monkeypatch.setattr(attending, "choose", lambda *_: "folded")
    shifted = kind == "token shift"
    more = {"model": {"token_shift": True, "raw_rows": True}} if shifted else {}
    story = Story("marm" if shifted else kind, **more, memory={"window": 6}, rival={"picked": 3, "newest": 1})
    model = Ranker(story.run.model, story.run.tasks, reader=lambda: story.reader)
    full = [k for k in range(len(story.seen)) if len(story.view(k)) == 6]
    passed = story.of(full)
    size = Size(len(full), len(passed.item_of_row), passed.items.count, 6)
    # The one kernel that torch does not count is taken apart.
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        story.reader(story.item_UD, passed)
    assert story.reader.flops(size) == counter.get_total_flops()
    tower = model.flops(size) - story.reader.flops(size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.experts(torch.zeros(len(full), model.experts.first.weight.shape[0]))
    assert tower == counter.get_total_flops() + 2 * len(full) * model.hear.numel()


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"model": {"kind": "dien"}}, "model.kind"),
        ({"model": {"kind": "din", "layers": 0}}, "layers"),
        ({"model": {"kind": "twin", "token_shift": True}}, "token_shift"),
        ({"model": {"kind": "eta"}, "memory": {"store_top": True}}, "store_top"),
        ({"model": {"kind": "sim_hard"}, "features": {}}, "rival.category"),
        ({"model": {"kind": "sim_hard"}, "rival": {"category": "price"}}, "rival.category"),
    ],
)
def test_what_a_rival_cannot_do_is_refused(sections: dict[str, Any], told: str, world: Path) -> None:
    with pytest.raises(SettingError, match=told):
        run_over(world, **sections)
