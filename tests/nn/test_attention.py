"""The fused, folded and projected ways equal the plain reference, in values and gradients."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import attention as benchmark
from marm.nn.attention import TargetAttention
from marm.nn.codec import CODECS
from marm.nn.dense import steady_rows
from marm.nn.fading import IDLE
from marm.nn.operands import TOGETHER, Operands, plan_work
from marm.nn.plain import rows_of
from marm.nn.views import GAPS, RANKS, Views, rank_buckets

OUTCOMES = 4


def random_pass(seed, segments, longest, queries, width, codec, shift=False, raw=False, ids=0):
    """A pass of random rows: some remembered, some live, some without a row before them; views of any length, 0 too."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, longest + 1, segments)
    rows_at = np.concatenate([[0], np.cumsum(rows)])
    total = int(rows_at[-1])
    time = np.concatenate([np.sort(rng.integers(0, 10**12, n)) for n in rows]) if total else np.zeros(0, np.int64)
    segment = rng.integers(0, segments, queries)
    ends = np.array([rng.integers(rows_at[b], rows_at[b + 1] + 1) for b in segment], np.int64)
    begins = np.array([rng.integers(rows_at[b], e + 1) for b, e in zip(segment, ends, strict=True)], np.int64)
    asked = np.array(
        [time[e - 1] + rng.integers(1, 10**9) if e > b else 10**12 for b, e in zip(begins, ends, strict=True)]
    )
    first = np.isin(np.arange(total), rows_at[:-1])
    previous = np.where(first, -1, np.arange(total) - 1)
    known = time + rng.integers(0, 10**12, total)
    outcome = rng.integers(1, OUTCOMES, total).astype(np.int16)
    views = Views(time, known, outcome, previous, np.arange(total), begins, ends, asked.astype(np.int64))
    if ids:
        row_ids, query_ids = (rng.integers(0, 4, (n, ids)).astype(np.uint64) for n in (total, queries))
        views = replace(views, row_ids=row_ids, query_ids=query_ids)
    live = torch.randn(7, width, requires_grad=True)
    block = CODECS[codec].encode(torch.randn(50, 2, width)).flatten(1)
    extra = torch.randn(9, width, requires_grad=True)
    at = rng.integers(-7, 50, total)
    beside = [np.where(previous >= 0, rng.integers(0, 9, total), -1)] * shift + [rng.integers(0, 9, total)] * raw
    attention = TargetAttention(width, 2, torch.eye(OUTCOMES), shift, raw, ids)
    with torch.no_grad():
        attention.fading.power.normal_(std=0.02)
        attention.own.normal_()
        attention.worth.uniform_(-2, 0)
    sides = np.stack(beside) if beside else np.zeros((0, total), np.int64)
    work = plan_work(views, segment, rows_at)
    ops = Operands(work, block, CODECS[codec].columns(width), at, sides, attention.spans)
    return attention, torch.randn(queries, width, requires_grad=True), live, extra, ops


def rounding(ids):
    """How far apart two ways may be: sharp heads have logits of 40 and more, of which float32 keeps 4e-6."""
    return {"rtol": 4e-5, "atol": 8e-6} if ids else {"rtol": 1e-5, "atol": 2e-6}


def run(attention, target, live, extra, ops, way):
    out = attention(target, live, extra, ops, way)
    leaves = {"target": target, "live": live, "extra": extra, **dict(attention.named_parameters())}
    grads = torch.autograd.grad(
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), leaves.values(), allow_unused=True
    )
    return out, dict(zip(leaves, grads, strict=True))


@pytest.mark.parametrize("way", ["fused", "folded", "projected"])
@pytest.mark.parametrize(("shift", "raw"), [(False, False), (True, False), (False, True), (True, True)])
@settings(max_examples=6, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0, 3, 40]), st.sampled_from(list(CODECS)),
    st.sampled_from([0, 2]),
)  # fmt: skip
def test_each_way_equals_the_reference_in_values_and_gradients(way, shift, raw, seed, segments, longest, codec, ids):
    torch.manual_seed(seed)
    drawn = random_pass(seed, segments, longest, 12, width=8, codec=codec, shift=shift, raw=raw, ids=ids)
    wanted, wanted_grads = run(*drawn, "reference")
    got, got_grads = run(*drawn, way)
    torch.testing.assert_close(got, wanted, **rounding(ids))
    for name, grad in wanted_grads.items():
        other = got_grads[name]
        if grad is not None and grad.any():
            torch.testing.assert_close(other, grad, rtol=1e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
        elif other is not None:
            # Of fading, where all rows fade alike, a rounding is left.
            assert not (other.abs() > 1e-6 * (name == "fading.power")).any(), name


@pytest.mark.parametrize(("shift", "raw"), [(False, False), (True, True)])
@pytest.mark.parametrize("ids", [0, 1, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_queries_that_share_a_view_attend_together_as_each_alone(shift, raw, ids, codec):
    attention, target, live, extra, ops = random_pass(5, 2, 30, 40, width=8, codec=codec, shift=shift, raw=raw, ids=ids)
    many = np.concatenate([np.arange(40), np.full(TOGETHER + 4, 3), np.full(TOGETHER - 1, 7), np.full(TOGETHER - 2, 9)])
    ops, target = ops.of(many), torch.randn(len(many), 8)
    if ids:
        # Of one view, but of as many items.
        asked = np.random.default_rng(1).integers(0, 4, (len(many), ids)).astype(np.uint64)
        ops = replace(ops, work=replace(ops.work, views=replace(ops.views, query_ids=asked)))
    assert sorted(len(one.choices.queries) for one in ops.work.parts.shared) == [TOGETHER, TOGETHER + 5]
    with torch.no_grad():
        alone, together = (attention.read(target, live, extra, ops, way) for way in ("fused", "auto"))
        near = rounding(ids)
        torch.testing.assert_close(together[0], attention(target, live, extra, ops, "reference"), **near)
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one, other, **near)
        with steady_rows():
            assert not torch.equal(attention.read(target, live, extra, ops)[0], together[0])


@pytest.mark.parametrize(("shift", "raw"), [(False, False), (True, True)])
@pytest.mark.parametrize("ids", [0, 2])
@pytest.mark.parametrize("codec", CODECS)
def test_what_a_layer_makes_is_the_sum_of_rows_by_the_weights_that_it_tells(shift, raw, ids, codec):
    torch.manual_seed(0)
    attention, target, live, extra, ops = random_pass(5, 3, 30, 12, width=8, codec=codec, shift=shift, raw=raw, ids=ids)
    with torch.no_grad():
        weight_QHN = attention.heed(target, live, extra, ops)
        made = attention.read(target, live, extra, ops, "fused")[0]
        rows_RSD = rows_of(ops, live, extra)
        table = attention._table(ops, rows_RSD[0].numel())[:, : rows_RSD[0].numel()]
        for k in range(len(target)):
            begin, end = int(ops.views.begin[k]), int(ops.views.end[k])
            places = attention._places(ops.of(np.array([k])), end - begin)
            x_HNSD = table[places].sum(1).view(-1, *rows_RSD.shape[1:]).repeat(2, 1, 1, 1)
            x_HNSD[:, :-1] += rows_RSD[begin:end]
            # What a row's outcome makes of its value, beyond the row itself.
            x_HNSD[:, :-1, 0] += attention._more()[:, places[:-1, 0], None] * rows_RSD[begin:end, 0]
            weight = torch.cat([weight_QHN[k, :, : end - begin], weight_QHN[k, :, -1:]], 1)
            value = torch.einsum("hn,hnsd,shkd,hke->e", weight, x_HNSD, torch.stack(attention._values()), attention.out)
            torch.testing.assert_close(value, made[k], rtol=1e-5, atol=2e-6)
            assert not weight_QHN[k, :, end - begin : -1].any()
        torch.testing.assert_close(weight_QHN.sum(2), torch.ones(12, 2))


def test_a_query_without_history_attends_to_the_null_row_alone():
    attention, target, live, extra, ops = random_pass(0, 1, 0, queries=3, width=8, codec="float32")
    null = attention._codes()[-1]
    value = torch.einsum("hkd,d->hk", attention.value, null)
    wanted = torch.einsum("hk,hkd->d", value, attention.out).expand(3, -1)
    torch.testing.assert_close(attention(target, live, extra, ops, "fused"), wanted, atol=1e-6, rtol=1e-5)


def test_an_outcome_not_yet_known_changes_nothing():
    attention, target, live, extra, ops = random_pass(1, 3, 20, queries=6, width=8, codec="float32")
    segment = np.repeat(np.arange(3), np.diff(ops.work.queries_at))[np.argsort(ops.work.order)]

    def with_others(which):
        """The outcomes of these rows changed."""
        outcome = np.where(which, 1 + ops.views.outcome % (OUTCOMES - 1), ops.views.outcome).astype(np.int16)
        views = dataclasses.replace(ops.views, outcome=outcome)
        work = plan_work(views, segment, ops.work.rows_at)
        return attention(target, live, extra, dataclasses.replace(ops, work=work), "fused")

    unknown = np.array([(ops.views.known[j] > ops.views.asked).all() for j in range(len(ops.views.known))])
    before = with_others(np.zeros_like(unknown))
    assert unknown.any()
    assert torch.equal(with_others(unknown), before)
    assert not torch.equal(with_others(~unknown), before)


def test_ranks_are_exact_near_and_coarse_far():
    buckets = rank_buckets(1000)
    assert list(buckets[1:9]) == list(range(8))
    assert buckets[9] >= 8 and (np.diff(buckets[1:]) >= 0).all() and buckets[1000] <= 31


def test_the_batched_way_that_a_benchmark_holds_beside_gives_the_same_numbers():
    layer = benchmark.make(benchmark.Shape(6, 3, 20, 32))
    with torch.no_grad():
        layer.attention.worth.uniform_(-2, 0)
        ways = {name: way() for name, way in benchmark.ways_of(layer).items()}
    assert ways.keys() == {"fused", "folded", benchmark.BATCHED, "projected"}
    for made in ways.values():
        torch.testing.assert_close(made, ways["fused"], rtol=1e-4, atol=1e-5)


def test_a_head_that_looks_for_the_newest_row_of_an_id_takes_it_however_it_went():
    worth_F = torch.tensor([-1.0, -2.0, 0.0])
    attention = TargetAttention(8, 4, torch.eye(3), ids=1)
    attention.contrast(worth_F)
    torch.testing.assert_close(attention.worth.data, torch.stack([worth_F, torch.zeros(3)]).repeat(2, 1))


def test_a_contrast_is_the_rows_that_went_well_less_those_that_went_badly():
    attention, target, live, extra, ops = random_pass(2, 3, 20, queries=12, width=8, codec="float32")
    attention.contrast(torch.tensor([-1.0, -2.0, -1.0, 0.0]))
    with torch.no_grad():
        for codes in (attention.outcome_rows, attention.other_rows):
            codes.zero_()
        attention.query.zero_()
        made, rows_RSD = attention(target, live, extra, ops, "fused"), rows_of(ops, live, extra)
        for k in range(len(target)):
            seen = range(int(ops.views.begin[k]), int(ops.views.end[k]))
            there = [int(ops.views.outcome[j]) if ops.views.known[j] <= ops.views.asked[k] else 0 for j in seen]
            sum_D = sum(((c == 3) - (c == 1)) * rows_RSD[j, 0] for j, c in zip(seen, there, strict=True))
            value = torch.einsum("hkd,d->hk", attention.value, torch.zeros(8) + sum_D / (len(there) + 1))
            wanted = torch.einsum("hk,hkd->d", value, attention.out)
            torch.testing.assert_close(made[k], wanted, rtol=1e-5, atol=2e-6)


def nothing_read(attention, age):
    """The weight of the null row beside one row so many seconds old, in each head."""
    one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
    views = Views(none, none, one.astype(np.int16), none - 1, none, none, one, age * 10**6 * one)
    work = plan_work(views, none, np.array([0, 1]))
    block = CODECS["float32"].encode(torch.zeros(1, 1, 8)).flatten(1)
    ops = Operands(work, block, 0, none, np.zeros((0, 1), np.int64), attention.spans)
    with torch.no_grad():
        return attention.heed(torch.zeros(1, 8), torch.zeros(0, 8), torch.zeros(0, 8), ops)[0, :, -1]


def test_how_much_of_an_old_history_is_read_does_not_hang_on_how_rows_fade_but_on_what_a_head_learned_within_a_bound():
    attention = TargetAttention(8, 2, torch.eye(OUTCOMES))
    with torch.no_grad():
        attention.own.zero_()
        attention.fading.power[:, :2] = torch.tensor([[0.5, 0.3], [-0.2, 0.0]])
    new, old = nothing_read(attention, 5), nothing_read(attention, 10**7)
    torch.testing.assert_close(old, new)
    with torch.no_grad():
        attention.fading.power[:, 2] = torch.tensor([-0.05, 5.0])
    less, more = torch.logit(nothing_read(attention, 10**7)) - torch.logit(old)
    assert 0 < less < IDLE
    torch.testing.assert_close(more, torch.tensor(-IDLE))


@pytest.mark.parametrize("shift", [False, True])
def test_a_layer_begins_by_reading_the_newest_row_of_each_kind_of_id_in_a_head_of_its_own(shift):
    """Two layers of four heads, three kinds: their sharp heads look at kinds 2 and 1, then 0 and 2."""
    kinds = [[2, 1], [0, 2]]
    for layer, looked_at in enumerate(kinds):
        attention = TargetAttention(8, 4, torch.eye(OUTCOMES), shift, False, 3, layer)
        added = attention.equal[int(shift), [1, 3]]
        assert added.argmax(1).tolist() == looked_at
        assert (added > 0).sum() == 2
        # Of two equal rows the newer is read, and an equal one far back rather than another near by.
        rank = attention._lean(torch.zeros(attention.outcomes + GAPS + RANKS + 1, 8))[1, attention.outcomes + GAPS : -1]
        assert (rank.diff() < 0).all()
        assert added.max() + rank[16] > rank[0] > rank[1]
        assert (attention.fading.power[[0, 2]] == 0).all()
