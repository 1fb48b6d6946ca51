"""Each rival against its paper's formula, worked out event by event."""

import pytest
import torch
from torch.nn import functional

from marm.rivals.hstu import LookUp
from tests.rivals.story import Story

SEARCH = {"rival": {"picked": 4, "newest": 1, "bits": 6}, "memory": {"window": 9}}


def check(story, formula):
    """What the tower is told of every event, and what was heard, are what the formula says."""
    said, heard = story.made()
    seen = 0
    for k in range(len(story.seen)):
        wanted, told = formula(k)
        seen += len(story.view(k)) > story.run.rival.picked
        for one, want in zip(said, wanted, strict=True):
            torch.testing.assert_close(one[k], want, rtol=1e-4, atol=1e-5)
        for one, want in zip(heard, told, strict=True):
            torch.testing.assert_close(one[k], want, rtol=1e-4, atol=1e-5)
    return seen


@pytest.fixture(autouse=True)
def _no_gradient():
    with torch.no_grad():
        yield


def test_mean_pooling_is_the_mean_of_the_rows():
    story = Story("mean")

    def formula(k):
        view = story.view(k)
        rows = [story.x(k, j) for j in view]
        said = [story.parts(k, j) for j in view]
        if not view:
            return [torch.zeros(8)], [torch.tensor([0.0] * story.values + [1.0])]
        told = torch.cat([sum(said) / len(view), torch.zeros(1)])
        return [sum(rows) / len(view)], [told]

    check(story, formula)


def test_din_sums_rows_by_weights_that_do_not_add_up_to_one():
    story = Story("din", rival={"activation": 5})
    din = story.reader
    total = []

    def activation(x, y):
        hidden = torch.cat([x, y, x * y, x - y]) @ din.inward.weight + din.inward.bias
        return float(torch.where(hidden > 0, hidden, din.slope * hidden) @ din.outward + din.bias)

    def formula(k):
        view, state, said = story.view(k), torch.zeros(8), torch.zeros(story.values)
        for j in view:
            weight = activation(story.x(k, j), story.u[k])
            state, said = state + weight * story.x(k, j), said + weight * story.parts(k, j)
            total.append(weight)
        return [state], [torch.cat([said / story.run.memory.window, torch.tensor([float(not view)])])]

    check(story, formula)
    assert min(total) < 0 < max(total)


def test_sim_hard_attends_to_the_newest_rows_of_the_targets_category():
    story = Story("sim_hard", **SEARCH)

    def formula(k):
        picked = story.best(k, lambda j: 0 if story.category(j) == story.category(k) else None)
        added, told = story.layer(k, picked)
        return [added], [told]

    assert check(story, formula)


def test_sim_soft_attends_to_the_rows_of_the_highest_inner_product():
    story = Story("sim_soft", **SEARCH)
    sim = story.reader

    def formula(k):
        relevance = {j: float((story.u[k] @ sim.ask) @ (story.u[j] @ sim.answer)) for j in story.view(k)}
        added, told = story.layer(k, story.best(k, relevance.get))
        return [added, sum((r * story.u[j] for j, r in relevance.items()), torch.zeros(8))], [told]

    assert check(story, formula)


def test_twin_searches_and_attends_by_the_same_relevance():
    story = Story("twin", **SEARCH)
    twin, heads = story.reader, story.run.model.heads
    one = twin.layer.attention

    def bias(k, j, head):
        return sum(
            float(row @ squeeze * beta)
            for row, squeeze, beta in zip(story.signals(k, j), twin.squeeze, twin.beta[head], strict=True)
        )

    def alpha(k, j, head):
        asked = one.query[head] @ story.u[k]
        return float(asked @ (one.key[head] @ story.u[j])) / (8 // heads) ** 0.5 + bias(k, j, head)

    def formula(k):
        picked = story.best(k, lambda j: sum(alpha(k, j, h) for h in range(heads)))
        added, told = story.layer(k, picked, lambda j, h: bias(k, j, h), lambda j: story.u[j], story.u[k])
        return [added], [told]

    assert check(story, formula)


def test_eta_picks_the_rows_with_the_nearest_signatures():
    story = Story("eta", **SEARCH)
    planes = story.reader.planes

    def signature(j):
        return [bool(bit > 0) for bit in story.e[j] @ planes]

    def formula(k):
        def score(j):
            return -sum(a != b for a, b in zip(signature(k), signature(j), strict=True))

        added, told = story.layer(k, story.best(k, score))
        return [added], [told]

    assert check(story, formula)


def norm(layer, x):
    return (x - x.mean()) / (x.var(unbiased=False) + layer.eps).sqrt() * layer.weight + layer.bias


def test_sasrec_is_read_at_its_newest_position():
    story = Story("sasrec", memory={"window": 5})
    reader = story.reader
    heads, inner = story.run.model.heads, 8 // story.run.model.heads

    def block(one, xs):
        projected = [norm(one.norms[0], x) @ one.project.weight + one.project.bias for x in xs]
        out = []
        for i, x in enumerate(xs):
            made = []
            for h in range(heads):
                q, k, v = ([p.view(3, heads, inner)[part, h] for p in projected] for part in range(3))
                weights = torch.stack([q[i] @ k[j] / inner**0.5 for j in range(i + 1)]).softmax(0)
                made.append(sum(w * v[j] for j, w in enumerate(weights)))
            x = x + torch.cat(made) @ one.out.weight + one.out.bias
            hidden = functional.relu(norm(one.norms[1], x) @ one.inward.weight + one.inward.bias)
            out.append(x + hidden @ one.outward.weight + one.outward.bias)
        return out

    def formula(k):
        xs = [reader.null, *(story.x(k, j) for j in story.view(k))]
        for one in reader.blocks:
            xs = block(one, xs)
        return [norm(reader.norm, xs[-1])], []

    check(story, formula)


def test_hstu_weighs_by_silu_of_products_and_relative_bias_without_softmax():
    story = Story("hstu", memory={"window": 5})
    reader, time = story.reader, story.seen.time
    heads, inner = story.run.model.heads, 8 // story.run.model.heads

    def unit(one, xs, times):
        made = [
            functional.silu(norm(one.before, x) @ one.inward.weight + one.inward.bias).view(4, heads, inner) for x in xs
        ]
        out, weights = [], torch.zeros(heads, len(xs))
        for i, x in enumerate(xs):
            read = []
            for h in range(heads):
                for j in range(i + 1):
                    gap = max(int(times[i]) - int(times[j]), 0) >> 20
                    bias = one.places[i - j] + one.gaps[gap.bit_length()]
                    weights[h, j] = functional.silu(made[i][2, h] @ made[j][3, h] + bias) / (5 + 2)
                read.append(sum(weights[h, j] * made[j][1, h] for j in range(i + 1)))
            gated = norm(one.after, torch.cat(read)) * made[i][0].flatten()
            out.append(x + gated @ one.outward.weight + one.outward.bias)
        return out, weights

    def formula(k):
        view = story.view(k)
        rows = [story.u[j] + story.signals(k, j)[0] for j in view]
        xs, times = [reader.null, *rows, story.u[k]], [*time[view], time[k]]
        times, weights = [times[0], *times], torch.zeros(0)
        for one in reader.units:
            xs, weights = unit(one, xs, times)
        told = []
        for h in range(heads):
            said = [weights[h, 1 + i] * story.parts(k, j) for i, j in enumerate(view)]
            told += [sum(said, torch.zeros(story.values)), weights[h, :1]]
        return [xs[-1] - story.u[k]], [torch.cat(told)]

    check(story, formula)


def test_the_look_up_of_a_time_bias_has_the_gradient_of_plain_indexing():
    table, at, back = torch.randn(5), torch.randint(0, 5, (3, 7, 7)), torch.randn(3, 7, 7)
    grads = []
    with torch.enable_grad():
        for look_up in (LookUp.apply, lambda table, at: table[at]):
            leaf = table.clone().requires_grad_()
            (look_up(leaf, at) * back).sum().backward()
            grads.append(leaf.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_signals_that_are_switched_off_bring_nothing():
    story = Story("mean", model={"time_gap": False, "rank": False})
    said, _ = story.made()
    seen = [k for k in range(len(story.seen)) if story.view(k)]
    assert len(seen) > 10
    for k in seen:
        rows = [story.u[j] + story.signals(k, j)[0] for j in story.view(k)]
        torch.testing.assert_close(said[0][k], torch.stack(rows).mean(0), rtol=1e-4, atol=1e-5)
