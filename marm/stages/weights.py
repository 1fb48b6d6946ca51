"""What a stage learns: dense weights by Adam, its own small table by row-wise Adagrad, apart from ranking's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from marm.errors import FolderError
from marm.model.features import salt
from marm.nn.adam import Adam
from marm.nn.saving import part
from marm.nn.table import Bag, HashTable, Part, single
from marm.types import F32, U64

M = TypeVar("M", bound=nn.Module)
_USER, _ITEM = salt("stage user"), salt("stage item")


def seeded(seed: int, make: Callable[[], M]) -> M:
    """Make a module from its own seed; the generator that all others draw from stays where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


@dataclass(frozen=True)
class Leaf:
    """Rows of the table (N, D + biases) that take a gradient, the bag that they are of, and how many queries use each (N,)."""

    bag: Bag
    rows: Tensor
    asked: F32


class Weights:
    """A module and a table with their optimizers."""

    def __init__(
        self, module: nn.Module, table: HashTable, rates: tuple[float, float], warmup: int, clip: float
    ) -> None:
        """``rates``: of Adam and of the table."""
        self.module, self.table, self._table_rate = module, table, rates[1]
        self._adam = Adam(module.parameters(), rates[0], warmup, clip)

    def users(self, ids: U64) -> Bag:
        """Keys of users in this stage's table."""
        return single((ids ^ _USER)[:, None])

    def items(self, ids: U64) -> Bag:
        """Keys of items in this stage's table."""
        return single((ids ^ _ITEM)[:, None])

    def look_up(self, bag: Bag) -> Tensor:
        """The table's rows (N, D + biases), which take a gradient where one is wanted."""
        out = self.table.lookup([bag], len(bag.offsets) - 1)
        return out.requires_grad_(torch.is_grad_enabled())

    def learn(self, loss: Tensor, leaves: Sequence[Leaf], count: int) -> None:
        """One update from a loss summed over ``count`` things, and the leaves that it hangs on."""
        parameters = self._adam.parameters
        grads = torch.autograd.grad(loss, [*parameters, *(leaf.rows for leaf in leaves)], allow_unused=True)
        dense, sparse = grads[: len(parameters)], grads[len(parameters) :]
        rise = self._adam.step([None if grad is None else grad / count for grad in dense])
        pairs = zip(leaves, sparse, strict=True)
        parts = [Part(leaf.bag, grad, leaf.asked) for leaf, grad in pairs if grad is not None]
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
