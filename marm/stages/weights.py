"""What a stage learns: dense weights by Adam, its own small table by row-wise Adagrad, apart from ranking's."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from marm.engine.leaf import Leaf, look_up
from marm.errors import FolderError
from marm.model.features import salt
from marm.nn.adam import Adam
from marm.nn.saving import part
from marm.nn.table import Bag, HashTable, single
from marm.ranks import ALONE, Group, over_ranks
from marm.types import F32, U64

M = TypeVar("M", bound=nn.Module)
_USER, _ITEM = salt("stage user"), salt("stage item")


def seeded(seed: int, make: Callable[[], M]) -> M:
    """Make a module from its own seed; the generator that all others draw from stays where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


class Weights:
    """A module and a table with their optimizers."""

    def __init__(
        self,
        module: nn.Module,
        table: HashTable,
        rates: tuple[float, float],
        warmup: int,
        clip: float,
        group: Group = ALONE,
    ) -> None:
        """``rates``: of Adam and of the table; ``group``: who learns together."""
        self.module, self.table, self._table_rate, self._group = module, table, rates[1], group
        self._adam = Adam(module.parameters(), rates[0], warmup, clip)

    def users(self, ids: U64) -> Bag:
        """Keys of users in this stage's table."""
        return single((ids ^ _USER)[:, None])

    def items(self, ids: U64) -> Bag:
        """Keys of items in this stage's table."""
        return single((ids ^ _ITEM)[:, None])

    def look_up(self, bag: Bag, asked: F32 | None = None) -> Leaf:
        """The table's rows; ``asked`` (N,): how many queries use each, one if not given."""
        return look_up(self.table, [bag], np.ones(len(bag.offsets) - 1, np.float32) if asked is None else asked)

    def learn(self, loss: Tensor | None, leaves: Sequence[Leaf], count: int) -> None:
        """One update from a loss summed over ``count`` things of all ranks, and the leaves that it hangs on.

        ``loss``: the part of this rank's own, None where it has none.
        """
        parameters = self._adam.parameters
        sources = [*parameters, *(leaf.embedded for leaf in leaves)]
        grads: Sequence[Tensor | None] = [None] * len(sources)
        if loss is not None:
            grads = torch.autograd.grad(loss, sources, allow_unused=True)
        dense, sparse = over_ranks(self._group, grads[: len(parameters)], parameters), grads[len(parameters) :]
        rise = self._adam.step([None if grad is None else grad / count for grad in dense])
        parts = [part for leaf, grad in zip(leaves, sparse, strict=True) for part in leaf.parts(grad)]
        self.table.learn(parts, self._table_rate * rise)

    def state(self) -> dict[str, Tensor]:
        """For the cut."""
        return {
            **{f"model.{name}": value.detach().cpu() for name, value in self.module.state_dict().items()},
            **{f"adam.{name}": value for name, value in self._adam.state().items()},
            **{f"table.{name}": value for name, value in self.table.state().items()},
            "steps": torch.tensor(self._adam.steps),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up where ``state`` was taken. Errors: ``FolderError`` where it is of another shape."""
        try:
            self.module.load_state_dict(part(state, "model."))
            self.table.load(part(state, "table."))
            self._adam.load(part(state, "adam."), int(state["steps"]))
        except (RuntimeError, KeyError, IndexError):
            raise FolderError(
                "a stage's weights in the cut have another shape than its settings make: train anew"
            ) from None
