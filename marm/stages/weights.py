"""What a stage learns: dense weights by Adam, its own small table by row-wise Adagrad, apart from ranking's."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from marm.errors import FolderError
from marm.model.features import salt
from marm.nn.adam import adam_state, load_adam
from marm.nn.table import Bag, HashTable, Part, single
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
        self, module: nn.Module, table: HashTable, rates: tuple[float, float], warmup: int, clip: float
    ) -> None:
        """``rates``: of Adam and of the table."""
        self.module, self.table, self.steps = module, table, 0
        self._rates, self._warmup, self._clip = rates, warmup, clip
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self._adam = torch.optim.Adam(self.parameters, lr=rates[0], fused=True)

    def users(self, ids: U64) -> Bag:
        """Keys of users in this stage's table."""
        return single((ids ^ _USER)[:, None])

    def items(self, ids: U64) -> Bag:
        """Keys of items in this stage's table."""
        return single((ids ^ _ITEM)[:, None])

    def look_up(self, bag: Bag) -> Tensor:
        """The table's rows (N, D): a leaf that takes their gradient, where one is wanted."""
        out = self.table.lookup([bag], len(bag.offsets) - 1)
        return out.requires_grad_(torch.is_grad_enabled())

    def learn(self, grads: Sequence[Tensor | None], parts: list[tuple[Bag, Tensor]]) -> None:
        """One update: gradients of the module's parameters, and of what the table gave."""
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter.grad = grad
        rise = min(1.0, (self.steps + 1) / self._warmup) if self._warmup else 1.0
        for group in self._adam.param_groups:
            group["lr"] = self._rates[0] * rise
        torch.nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self._adam.step()
        self.table.learn(
            [Part(bag, grad, _asked(grad, self.table.width)) for bag, grad in parts], self._rates[1] * rise
        )
        self.steps += 1

    def state(self) -> dict[str, Tensor]:
        """For the cut."""
        rows = self.table.touched()
        table = {"rows": rows, "weight": self.table.weight[rows], "square": self.table.square[rows]}
        return {
            **{f"model.{name}": value.detach().cpu() for name, value in self.module.state_dict().items()},
            **{f"adam.{name}": value for name, value in adam_state(self._adam, self.parameters).items()},
            **{f"table.{name}": value.cpu() for name, value in table.items()},
            "steps": torch.tensor(self.steps),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up where ``state`` was taken. Errors: ``FolderError`` where it is of another shape."""
        try:
            self.module.load_state_dict(part(state, "model."))
            table = part(state, "table.")
            rows = table["rows"].to(self.table.weight.device)
            self.table.weight[rows] = table["weight"].to(self.table.weight.device)
            self.table.square[rows] = table["square"].to(self.table.weight.device)
            load_adam(self._adam, self.parameters, part(state, "adam."))
            self.steps = int(state["steps"])
        except (RuntimeError, KeyError, IndexError):
            raise FolderError(
                "a stage's weights in the cut have another shape than its settings make: train anew"
            ) from None


def _asked(gradient: Tensor, width: int) -> F32:
    """One for each output whose biases have a slope (N,)."""
    return (gradient[:, width:] != 0).any(1).float().cpu().numpy()


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def signed(array: np.ndarray) -> Tensor:
    """An array to save; hashes as their signed bits."""
    return torch.from_numpy(array.view(np.int64) if array.dtype == np.uint64 else array)


def hashes(tensor: Tensor) -> U64:
    """What ``signed`` made of hashes."""
    array: U64 = tensor.numpy().view(np.uint64)
    return array
