"""What became of an exposure, as one small code that a row of history carries: 0 unknown, else one for each combination."""

import math

import numpy as np
import torch
from torch import Tensor

from marm.config import MOST_CODES, TaskConfig
from marm.types import F32, I16, I64, Bool


class OutcomeCodes:
    """Joint codes of the tasks' outcomes; a code's learned row is the sum of its tasks' rows, so rare ones are not lost."""

    def __init__(self, tasks: dict[str, TaskConfig], used: bool = True) -> None:
        carried = {name: task for name, task in tasks.items() if used and task.told_apart > 1}
        self.names = list(carried)
        self.columns = [i for i, name in enumerate(tasks) if name in carried]
        self.edges = [np.array(t.edges if t.kind == "regression" else [0.5], np.float32) for t in carried.values()]
        self.values = [task.told_apart for task in carried.values()]
        # A value of its own for "not observed", where there is room; else it counts as the lowest.
        self.missing = [False] * len(self.values)
        for i in range(len(self.values)):
            if math.prod(self.values) // self.values[i] * (self.values[i] + 1) <= MOST_CODES:
                self.values[i] += 1
                self.missing[i] = True

    def __len__(self) -> int:
        return 1 + math.prod(self.values)

    def encode(self, labels_NT: F32) -> I16:
        """Code of each row of labels, 1 or more: (N,)."""
        code = np.zeros(len(labels_NT), np.int64)
        for column, edges, values, missing in zip(self.columns, self.edges, self.values, self.missing, strict=True):
            label = labels_NT[:, column]
            digit = np.searchsorted(edges, label, side="right") + missing
            code = code * values + np.where(np.isnan(label), 0, digit)
        return (1 + code).astype(np.int16)

    def positive(self, column: int) -> Bool:
        """Which codes say that the binary task in this column of the labels was positive: (codes,)."""
        positive: Bool = self.decode(np.arange(len(self), dtype=np.int16))[:, self.columns.index(column)] == 1
        return positive

    def decode(self, code_N: I16) -> I64:
        """Number of each carried task's edges at or below its outcome (N, carried): -1 not observed, -2 not known."""
        out = np.empty((len(code_N), len(self.values)), np.int64)
        rest = code_N.astype(np.int64) - 1
        for i in reversed(range(len(self.values))):
            out[:, i] = np.where(code_N == 0, -2, rest % self.values[i] - self.missing[i])
            rest = rest // self.values[i]
        return out

    def worth(self) -> Tensor:
        """What makes of 1 the sign of an outcome, by row of ``parts``: (F,).

        The first carried task's lowest is -1 then, its highest 1, and what is not known or not observed 0.
        """
        worth = torch.zeros(1 + sum(self.values))
        for values, missing in list(zip(self.values, self.missing, strict=True))[:1]:
            worth[: 1 + missing] = -1
            worth[1 + missing : 1 + values] = torch.linspace(-2, 0, values - missing)
        return worth

    def parts(self) -> Tensor:
        """Which learned rows each code is the sum of: (codes, 1 + all values), the first for unknown."""
        parts = torch.zeros(len(self), 1 + sum(self.values))
        parts[0, 0] = 1
        rest, begin = torch.arange(len(self) - 1), 1 + sum(self.values)
        for values in reversed(self.values):
            begin -= values
            parts[torch.arange(1, len(self)), begin + rest % values] = 1
            rest = rest // values
        return parts
