"""The sparse table: stateless probes, sums of bags, and one Adagrad step for each touched row."""

import math

import numpy as np
import torch

from marm.nn import table as t

CPU = torch.device("cpu")


def bags(rng, outputs=20):
    keys = rng.integers(0, 50, (outputs, 3)).astype(np.uint64)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, outputs))])
    return [t.single(keys), t.mean(rng.integers(1, 50, offsets[-1]).astype(np.uint64), offsets)]


def parts(bags, gradient):
    return [t.Part(bag, gradient, np.full(len(gradient), 3, np.float32)) for bag in bags]


def test_an_embedding_is_the_sum_of_two_rows_and_key_zero_is_nothing():
    table = t.HashTable(1000, 4, 0, CPU)
    at = t.probes(np.array([7], np.uint64), 1000)[0]
    out = table.lookup([t.single(np.array([[7, 0], [0, 0]], np.uint64))], 2)
    torch.testing.assert_close(out[0], table.weight[at[0]] + table.weight[at[1]])
    assert not out[1].any()


def test_tags_share_a_weight_of_one():
    table = t.HashTable(1000, 4, 0, CPU)
    keys = np.array([3, 4], np.uint64)
    both = table.lookup([t.mean(keys, np.array([0, 2]))], 1)
    apart = table.lookup([t.single(keys[:, None])], 2)
    torch.testing.assert_close(both[0], apart.mean(0))


def test_the_loops_and_the_tensor_operations_look_up_and_learn_the_same():
    rng = np.random.default_rng(0)
    one, two = (t.HashTable(64, 4, 0, CPU, biases=2) for _ in range(2))
    for _ in range(5):
        drawn = bags(rng)
        out = torch.zeros(20, 6)
        for bag in drawn:
            t._lookup_torch(two.weight, bag, out)
        torch.testing.assert_close(one.lookup(drawn, 20), out)
        gradient = torch.randn(20, 6)
        learned = parts(drawn, gradient)
        one.learn(learned, 0.1)
        t._learn_torch(two.weight, two.square, learned, 4, two.together, 0.1)
        torch.testing.assert_close(one.weight, two.weight)
        torch.testing.assert_close(one.square, two.square)


def test_an_adagrad_step_is_rate_times_gradient_over_the_root_of_its_sum_and_zero_elsewhere():
    table = t.HashTable(1000, 4, 0, CPU)
    before = table.weight.clone()
    key = np.array([[9]], np.uint64)
    table.learn(parts([t.single(key)], torch.tensor([[3.0, 3.0, -3.0, 3.0]])), 0.05)
    moved = (table.weight - before)[t.probes(key[0], 1000)[0]]
    step = 0.05 * 3 / (9 + t.FLOOR) ** 0.5
    torch.testing.assert_close(moved, torch.tensor([[-step, -step, step, -step]]).expand(2, -1), atol=1e-6, rtol=1e-4)
    assert len(table.touched()) == 2 and torch.equal(
        table.touched(), torch.nonzero((table.weight != before).any(1)).flatten()
    )


def test_a_bias_learns_as_a_running_estimate_and_forgets_what_is_far_back():
    table = t.HashTable(1000, 4, 0, CPU, biases=1)
    bag = t.single(np.array([[9]], np.uint64))
    at = t.probes(bag.keys, 1000)[0]
    expected, square = 0.0, 0.0
    for slope in [2.0, -1.0, 30.0, 0.5]:
        table.learn(parts([bag], torch.tensor([[0.0, 0, 0, 0, slope]])), 0.05)
        square = min(square + slope**2, t.MEMORY)
        expected -= 0.05 * t.BIAS * slope / (square + t.PRIOR + t.CURVE * table.together * 3)
        torch.testing.assert_close(table.weight[at, 4], torch.full((2,), expected))
    assert square == t.MEMORY
    torch.testing.assert_close(table.weight[at, :4], t.HashTable(1000, 4, 0, CPU).weight[at])


def test_biases_that_every_output_shares_settle_and_do_not_overshoot():
    outputs, features = 1000, 12
    table = t.HashTable(1000, 4, 0, CPU, biases=1, together=2 * features)
    bag = t.single(np.tile(np.arange(1, features + 1, dtype=np.uint64), (outputs, 1)))
    logit = []
    for _ in range(300):
        now = table.lookup([bag], outputs)[:, 4]
        slope = now.sigmoid() - 0.2
        gradient = torch.cat([torch.zeros(outputs, 4), slope[:, None]], 1)
        table.learn([t.Part(bag, gradient, np.ones(outputs, np.float32))], 0.05)
        logit.append(float(now[0]))
    assert min(logit) > -1.6 and abs(logit[-1] - math.log(0.2 / 0.8)) < 0.01


def test_any_number_of_shares_learns_the_same():
    tables = [t.HashTable(64, 4, 0, CPU, biases=2) for _ in range(3)]
    drawn, gradient = bags(np.random.default_rng(1)), torch.randn(20, 6)
    for table, shares in zip(tables, (1, 2, 5), strict=True):
        table.learn(parts(drawn, gradient), 0.1, shares)
    assert torch.equal(tables[0].weight, tables[1].weight) and torch.equal(tables[0].weight, tables[2].weight)
    assert len(tables[0].touched())


def test_two_probes_hardly_ever_collide_on_both():
    keys = np.arange(1, 100_001).astype(np.uint64)
    at = np.sort(t.probes(keys, 2**18), 1)
    both = len(at) - len(np.unique(at, axis=0))
    one = len(at) - len(np.unique(at[:, 0]))
    assert both < 5 and one > 1000
