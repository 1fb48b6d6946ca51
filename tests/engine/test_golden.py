"""Remembering in any segmentation equals one causal pass; nothing after t, nor an outcome unknown at t, moves a score."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.config import TrainConfig
from marm.engine.batches import Drawn, ask
from marm.nn.codec import CODECS
from marm.nn.dense import steady_rows
from marm.train.learner import Learner
from tests.engine.causal import CausalPass
from tests.engine.worlds import SECOND, build, exposures, run_config, segment_through, tie_groups, with_column

SHAPES = {
    "plain": {},
    "one layer": {"layers": 1},
    "token shift": {"token_shift": True},
    "raw rows": {"raw_rows": True},
    "shift and raw": {"token_shift": True, "raw_rows": True},
    "equal ids": {"equal_ids": True},
    "equal ids, shift and raw": {"equal_ids": True, "token_shift": True, "raw_rows": True},
    "a last layer for each task": {"task_layers": True},
    "no memory": {"memory_reads": False},
    "no signals": {"time_gap": False, "rank": False, "outcomes": False},
    "no feed-forward, the last state alone": {"ffn": 0, "all_states": False},
}


def drawer(seed, per_event=2, items=12):
    """The same negatives for an event whatever pass it is in."""

    def draw(part):
        exposure = np.repeat(np.arange(len(part)), per_event)
        number = part.number[exposure]
        item = 1 + (number * 7 + np.tile(np.arange(per_event), len(part)) * 3 + seed) % items
        return Drawn(exposure, number, item.astype(np.uint64), np.zeros((len(item), 0), np.uint64))

    return draw


BY_ITEM = ["plain", "shift and raw", "equal ids", "equal ids, shift and raw"]


@pytest.mark.parametrize(
    ("shape", "keys"), [*((shape, "event") for shape in SHAPES), *((shape, "item") for shape in BY_ITEM)]
)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), delay=st.sampled_from([0, 3]), filtered=st.booleans(), data=st.data())
def test_remembering_in_any_segmentation_equals_one_causal_pass(shape, keys, seed, delay, filtered, data):
    sections = {"data": {"history": "c = 1"}} if filtered else {}
    run = run_config(model=SHAPES[shape], memory={"keys": keys}, **sections)
    engine = build(run, seed)
    seen = exposures(seed, events=40, delay=delay, filtered=filtered)
    if not run.model.outcomes:
        seen = with_column(seen, "outcome", np.ones_like(seen.outcome))
    groups = len(tie_groups(seen)) - 1
    cuts = data.draw(st.lists(st.integers(1, groups), max_size=groups, unique=True))
    draw = drawer(seed)
    exposed, beside = segment_through(engine, seen, sorted(cuts), draw)
    with torch.no_grad():
        wanted, wanted_beside = CausalPass(engine, seen).scores(draw(seen))
    torch.testing.assert_close(exposed, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(beside, wanted_beside, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("codec", CODECS)
def test_coded_rows_give_the_same_bits_live_and_remembered(codec):
    run, seen = run_config(memory={"codec": codec}), exposures(3)
    with steady_rows():
        one, _ = segment_through(build(run), seen, np.arange(1, len(tie_groups(seen)) - 1))
        whole, _ = segment_through(build(run), seen, np.zeros(0, int))
    assert torch.equal(one, whole)


CHANGES = {
    "items": (
        "item",
        lambda seen, at, rng: np.where(at, 1 + rng.integers(0, 12, len(seen)), seen.item).astype(np.uint64),
    ),
    "outcomes": ("outcome", lambda seen, at, rng: np.where(at, 1 + seen.outcome % 3, seen.outcome).astype(np.int16)),
    "histories": ("history", lambda seen, at, rng: np.where(at, ~seen.history, seen.history)),
}


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), when=st.integers(10, 50))
def test_a_change_after_t_leaves_every_score_up_to_t_equal_bit_for_bit(change, seed, when):
    seen = exposures(seed, delay=3)
    t = seen.time[when]
    name, alter = CHANGES[change]
    other = with_column(seen, name, alter(seen, seen.time > t, np.random.default_rng(seed)))
    cuts = np.arange(3, len(tie_groups(seen)) - 1, 5)
    for run in (run_config(), run_config(model={"token_shift": True}), run_config(memory={"keys": "item"})):
        with steady_rows():
            before, _ = segment_through(build(run), seen, cuts)
            after, _ = segment_through(build(run), other, cuts)
        assert torch.equal(before[seen.time <= t], after[seen.time <= t])


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), when=st.integers(10, 50))
def test_events_cut_off_after_t_leave_every_score_up_to_t_equal_bit_for_bit(seed, when):
    run, seen = run_config(), exposures(seed)
    kept = int((seen.time <= seen.time[when]).sum())
    with steady_rows():
        before, _ = segment_through(build(run), seen, np.zeros(0, int))
        after, _ = segment_through(build(run), seen.pick(np.arange(kept)), np.zeros(0, int))
    assert torch.equal(before[:kept], after)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), when=st.integers(10, 50))
def test_an_outcome_unknown_at_t_leaves_every_score_up_to_t_equal_bit_for_bit(seed, when):
    run, seen = run_config(), exposures(seed, delay=30)
    t = seen.time[when]
    unknown = seen.known > t
    other = with_column(seen, "outcome", np.where(unknown, 1 + seen.outcome % 3, seen.outcome).astype(np.int16))
    with steady_rows():
        before, _ = segment_through(build(run), seen, np.arange(3, 20, 5))
        after, _ = segment_through(build(run), other, np.arange(3, 20, 5))
    assert torch.equal(before[seen.time <= t], after[seen.time <= t])
    assert not torch.equal(before, after) or not (unknown & heard_of(seen, run.memory.window)).any()


def heard_of(seen, window):
    """Which events some later one of their user sees and knows the outcome of."""
    same = seen.user[:, None] == seen.user
    later = same & (seen.time[:, None] < seen.time)
    before = np.array([[(same[k] & (seen.time >= seen.time[j]) & (seen.time < seen.time[k])).sum() for k in range(len(seen))]
                       for j in range(len(seen))])  # fmt: skip
    return (later & (seen.known[:, None] <= seen.time) & (before <= window)).any(1)


def test_a_row_without_a_state_attends_by_the_learned_fall_back():
    run, seen = run_config(), exposures(1)
    engine = build(run)
    half = seen.pick(np.arange(30))
    segment_through(engine, half, np.arange(2, 10))
    late = seen.pick(np.arange(30, 40))
    late = with_column(late, "time", late.time + 1000 * SECOND)
    asked = ask(late, Drawn.none(0))
    with torch.no_grad():
        engine.memory.admit(asked.batch.users, 100)
        whole = engine.attend(asked.batch).logit_QT
        engine.memory.hot.states_from[:] = engine.memory.hot.head
        bare = engine.attend(asked.batch).logit_QT
        assert torch.isfinite(bare).all() and not torch.equal(whole, bare)
        for fallback in engine.model.stack.fallbacks:
            fallback.weight.mul_(2)
        assert not torch.equal(engine.attend(asked.batch).logit_QT, bare)


def test_live_rows_carry_gradient_and_remembered_ones_none():
    run, seen = run_config(model={"layers": 2}), exposures(2, users=1)
    seen = with_column(seen, "time", np.arange(len(seen)) * SECOND)

    def gradient(run, parts):
        """Of the last event's logits, in the first layer's feed-forward, having gone through its own row and others'."""
        engine = build(run)
        for low, high in parts:
            asked = ask(seen.pick(np.arange(low, high)), Drawn.none(0))
            engine.memory.admit(asked.batch.users, high)
            attended = engine.attend(asked.batch)
            engine.remember(seen.pick(np.arange(low, high)), attended.state_QKD, high)
        attended.shares[0].output.logit_QT[high - low - 1].sum().backward()
        return attended.logit_QT[-1], engine.model.stack.layers[0].feed_forward.outward.weight.grad

    live, alone = gradient(run, [(0, 4)]), gradient(run, [(0, 3), (3, 4)])
    torch.testing.assert_close(live[0], alone[0])
    assert alone[1].abs().sum() > 0
    assert (live[1] - alone[1]).abs().sum() > 1e-3
    constant = gradient(run_config(model={"layers": 2, "live_gradient": False}), [(0, 4)])
    torch.testing.assert_close(constant, alone)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_shares_side_by_side_give_what_one_share_gives_and_learn_the_same_gradient(threads):
    seen = exposures(3, events=40, users=5)
    found = []
    for count in (1, threads):
        engine = build(run_config(model={"layers": 2}))
        engine.threads = count
        late = seen.pick(np.arange(20, 40))
        asked = ask(late, Drawn.none(0))
        with steady_rows():
            segment_through(engine, seen.pick(np.arange(20)), np.arange(2, 8))
            engine.memory.admit(asked.batch.users, 100)
            attended = engine.attend(asked.batch)
        Learner(engine, TrainConfig()).learn(attended, torch.from_numpy(late.labels[asked.exposure]))
        found.append((len(attended.shares), attended.logit_QT, attended.state_QKD, engine))
    (one, *alone, single), (more, *beside, dealt) = found
    assert one == 1 and more > 1
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))
    for a, b in zip(single.model.parameters(), dealt.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(single.table.weight, dealt.table.weight)


def test_a_request_split_over_cores_scores_as_one_share_does_with_its_live_tail():
    seen = exposures(3, events=60, users=1)
    found = []
    for count in (1, 3):
        engine = build(run_config(model={"layers": 3}))
        engine.threads = count
        with steady_rows(), torch.no_grad():
            segment_through(engine, seen.pick(np.arange(20)), np.arange(2, 8))
        late = seen.pick(np.r_[20:28, np.full(500, 59)])
        batch = ask(late, Drawn.none(0)).batch
        live = np.arange(len(batch)) < 8
        item = np.where(live, batch.item, np.arange(len(batch), dtype=np.uint64))
        engine.memory.admit(batch.users, 100)
        with torch.no_grad():
            attended = engine.attend(replace(batch, live=live, item=item))
        found.append((attended.logit_QT, attended.state_QKD))
        assert len(attended.shares) == count
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_one_target_is_not_split_however_long_its_live_tail():
    engine = build(run_config(memory={"window": 400}, train={"live": 400}))
    engine.threads = 2
    batch = ask(exposures(3, events=300, users=1), Drawn.none(0)).batch
    engine.memory.admit(batch.users, 1)
    with torch.no_grad():
        attended = engine.attend(replace(batch, live=np.arange(300) < 299))
    assert len(attended.shares) == 1
