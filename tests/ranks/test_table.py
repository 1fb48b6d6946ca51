"""A table over many ranks is one table: what it looks up bit for bit, what it learns but for the order of sums."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from marm.nn import sharded
from marm.nn.sharded import ShardedTable
from marm.nn.table import HashTable, Part, mean, single
from marm.ranks import Group
from tests.ranks.processes import together

ROWS, WIDTH, BIASES, STEPS, OUTPUTS = 203, 8, 2, 6, 24
CPU = torch.device("cpu")


def bags_of(rng, outputs):
    keys = rng.integers(0, 60, (outputs, 3)).astype(np.uint64)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, outputs))])
    return [single(keys), mean(rng.integers(0, 60, offsets[-1]).astype(np.uint64), offsets)]


def steps(rank: int):
    """What one rank looks up and learns: rank 1 nothing in every other step."""
    rng = np.random.default_rng(rank)
    for step in range(STEPS):
        outputs = 0 if rank == 1 and step % 2 else OUTPUTS
        bags = bags_of(rng, outputs) if outputs else []
        gradient = torch.from_numpy(rng.normal(size=(outputs, WIDTH + BIASES)).astype(np.float32))
        asked = rng.integers(0, 5, outputs).astype(np.float32)
        yield bags, outputs, [Part(bag, gradient, asked) for bag in bags]


def learn(group: Group, folder: Path) -> None:
    table = ShardedTable(ROWS, WIDTH, 3, group, biases=BIASES)
    seen = {}
    for step, (bags, outputs, parts) in enumerate(steps(group.rank)):
        seen[f"{step}"] = table.lookup(bags, outputs)
        table.learn(parts, 0.1)
    save_file(seen, folder / f"seen{group.rank}")
    state = table.state()
    if group.rank == 0:
        save_file(state, folder / "state")
    group.wait()
    again = ShardedTable(ROWS, WIDTH, 3, group, biases=BIASES)
    again.load(load_file(folder / "state"))
    assert torch.equal(again.weight, table.weight) and torch.equal(again.square, table.square)
    assert table.learned() == len(load_file(folder / "state")["rows"])


def test_ranks_look_up_and_learn_as_one_table_does(tmp_path: Path) -> None:
    ranks = 3
    assert together(ranks, learn, tmp_path) == [0] * ranks
    table = HashTable(ROWS, WIDTH, 3, CPU, biases=BIASES)
    for step, of_ranks in enumerate(zip(*(steps(rank) for rank in range(ranks)), strict=True)):
        for rank, (bags, outputs, _) in enumerate(of_ranks):
            seen = load_file(tmp_path / f"seen{rank}")[f"{step}"]
            torch.testing.assert_close(seen, table.lookup(bags, outputs), atol=2e-6, rtol=2e-6)
            assert step or torch.equal(seen, table.lookup(bags, outputs))
        table.learn([part for _, _, parts in of_ranks for part in parts], 0.1)
    one, many = table.state(), load_file(tmp_path / "state")
    assert torch.equal(one["rows"], many["rows"])
    for name in ("weight", "square"):
        torch.testing.assert_close(many[name], one[name], atol=2e-6, rtol=2e-6)


class Of(Group):
    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@pytest.mark.parametrize("rows", [64, 95, 97, 31])
def test_a_rank_draws_its_share_of_the_numbers_that_one_table_draws(rows: int, monkeypatch) -> None:
    monkeypatch.setattr(sharded, "_AT_ONCE", 32)
    whole = HashTable(rows, 5, 7, CPU, biases=1).weight
    for rank in range(3):
        assert torch.equal(ShardedTable(rows, 5, 7, Of(rank, 3), biases=1).weight, whole[rank::3])
