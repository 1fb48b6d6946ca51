"""Plain softmax attention of many targets over one view, for CPUs: four at a time, so that a row once loaded serves them all.

Heads are narrow (16 numbers, say), so a general product spends its time on writing logits out and reading them back; here
those of four targets stay in the cache between the three loops.
"""

from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from marm.nn.abreast import gather, project
from marm.nn.softmax import exp_sum, largest

_ABREAST = 4
"""Targets at a time."""


def attend_one_view(q_HGK: Tensor, key_HKN: Tensor, value_HVN: Tensor) -> Tensor:
    """softmax(q key) value, rows along the last axis of keys and values: (H, G, V). No gradient."""
    targets = q_HGK.shape[1]
    q = functional.pad(q_HGK, (0, 0, 0, -targets % _ABREAST))
    out = torch.zeros(*q.shape[:2], value_HVN.shape[1])
    arrays = (t.contiguous().numpy() for t in (q, key_HKN, value_HVN))
    _attend(*arrays, out.numpy())  # type: ignore[call-arg]
    return out[:, :targets]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _attend(q: Any, key: Any, value: Any, out: Any) -> None:
    """``out`` must be zero."""
    rows, first = np.uint64(key.shape[2]), np.uint64(0)
    w = np.empty((_ABREAST, rows), np.float32)
    for h in range(q.shape[0]):
        for g in range(0, q.shape[1], _ABREAST):
            w[:] = 0
            project(q[h, g : g + _ABREAST], key[h], first, rows, w)
            total = np.empty(_ABREAST, np.float32)
            for t in range(_ABREAST):
                total[t] = exp_sum(w[t], largest(w[t], rows), rows)
            gather(w, value[h], first, rows, out[h, g : g + _ABREAST])
            for t in range(_ABREAST):
                out[h, g + t] /= total[t]
