"""Plain softmax attention of many targets over one view, for CPUs: four at a time, so that a row once loaded serves them all.

Heads are narrow (16 numbers, say), so a general product spends its time on writing logits out and reading them back; here
those of four targets stay in the cache between the three loops.
"""

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from marm.nn.abreast import gather, project
from marm.nn.alike import Alike, none_alike
from marm.nn.choices import Choices, no_choices
from marm.nn.machine import apart
from marm.nn.softmax import exp_sum, largest
from marm.types import I64

_ABREAST = 4
"""Targets at a time."""


class Projected(NamedTuple):
    """Rows as heads read them: those that all read along the last axis (H, K, N), those to choose from along the first."""

    key: Tensor
    value: Tensor
    lean: Tensor
    """What each adds to its logits, whatever the target: (H, N), or (U, H)."""


def attend_one_view(q_HGK: Tensor, key_HKN: Tensor, value_HVN: Tensor) -> Tensor:
    """softmax(q key) value, rows along the last axis of keys and values: (H, G, V). No gradient."""
    heads, targets = q_HGK.shape[:2]
    rows = Projected(key_HKN, value_HVN, q_HGK.new_zeros(heads, key_HKN.shape[2]))
    none = Projected(q_HGK.new_zeros(0, heads, 1), q_HGK.new_zeros(0, heads, 1), q_HGK.new_zeros(0, heads))
    equal_HX = q_HGK.new_zeros(heads, 0)
    choices, alike = no_choices(np.arange(targets)), none_alike(targets)
    return attend_with_choices(q_HGK, rows, none, choices, alike, equal_HX)[..., :-1]


def attend_with_choices(
    q_HGK: Tensor, rows: Projected, own: Projected, choices: Choices, alike: Alike, equal_HX: Tensor
) -> Tensor:
    """The same where each target also attends to those of ``own`` that it chose, in one softmax: (H, G, V + 1).

    ``equal_HX``: what an id in common adds to a logit, by its kind. The first of ``rows`` is the null row, whose weight
    comes last.
    """
    targets, row = q_HGK.shape[1], choices.row
    q = functional.pad(q_HGK, (0, 0, 0, -targets % _ABREAST)).contiguous()
    out = torch.zeros(*q.shape[:2], rows.value.shape[1] + 1)
    w_HC = np.empty((len(q), len(row)), np.float32)
    q_, *every, key, value, lean, equal = (t.contiguous().numpy() for t in (q, *rows, *own, equal_HX))
    _score(q_, key, lean, choices.at, row, w_HC)
    _attend(  # type: ignore[call-arg]
        q_, *every, choices.at, w_HC, alike.at, alike.place, alike.kind, equal, out.numpy()
    )
    _add(w_HC, value, choices.at, row, out.numpy()[..., :-1])
    return out[:, :targets]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _score(q: Any, key: Any, lean: Any, at: I64, row: I64, w: Any) -> None:
    """w[h, c] = q key of each choice c, and what it leans."""
    for g in range(len(at) - 1):
        for c in range(at[g], at[g + 1]):
            for h in range(q.shape[0]):
                total = lean[row[c], h]
                for k in range(q.shape[2]):
                    total += q[h, g, k] * key[row[c], h, k]
                w[h, c] = total


@nb.njit(cache=True, nogil=True, fastmath=True)
def _add(w: Any, value: Any, at: I64, row: I64, out: Any) -> None:
    """out[h, g] += w value of each choice, four at a time."""
    for g in range(len(at) - 1):
        for h in range(out.shape[0]):
            own, last = out[h, g], at[g + 1] - 3
            for c in range(at[g], last, 4):
                rows = value[row[c], h], value[row[c + 1], h], value[row[c + 2], h], value[row[c + 3], h]
                _add_rows(w[h, c : c + 4], rows[0], rows[1], rows[2], rows[3], own)
            for c in range(at[g + 1] - (at[g + 1] - at[g]) % 4, at[g + 1]):
                for v in range(out.shape[2]):
                    own[v] += w[h, c] * value[row[c], h, v]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _add_rows(w: Any, a: Any, b: Any, c: Any, d: Any, out: Any) -> None:
    apart()
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for v in range(np.uint64(len(out))):
        out[v] += (w0 * a[v] + w1 * b[v]) + (w2 * c[v] + w3 * d[v])


@nb.njit(cache=True, nogil=True, fastmath=True)
def _repeat(x: Any, out: Any) -> None:
    """Write x (N,) to the first N numbers of each of ``_ABREAST`` rows."""
    apart()
    a, b, c, d = out[0], out[1], out[2], out[3]
    for i in range(np.uint64(len(x))):
        a[i], b[i], c[i], d[i] = x[i], x[i], x[i], x[i]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _attend(
    q: Any,
    key: Any,
    value: Any,
    lean: Any,
    at: I64,
    chosen: Any,
    alike_at: I64,
    place: I64,
    kind: I64,
    equal: Any,
    out: Any,
) -> None:
    """``out`` must be zero; targets past the last of ``at`` fill up. ``chosen`` (H, C): logits of choices, then weights."""
    rows, first = np.uint64(key.shape[2]), np.uint64(0)
    w = np.empty((_ABREAST, rows + (at[1:] - at[:-1]).max()), np.float32)
    for h in range(q.shape[0]):
        for g in range(0, q.shape[1], _ABREAST):
            _repeat(lean[h], w)
            project(q[h, g : g + _ABREAST], key[h], first, rows, w)
            total = np.empty(_ABREAST, np.float32)
            real = min(_ABREAST, len(at) - 1 - g)
            for t in range(real):
                own = chosen[h, at[g + t] : at[g + t + 1]]
                every = w[t, : rows + len(own)]
                every[rows:] = own
                for e in range(alike_at[g + t], alike_at[g + t + 1]):
                    every[place[e]] += equal[h, kind[e]]
                total[t] = exp_sum(every, largest(every, len(every)), len(every))
                own[:] = every[rows:] / total[t]
            gather(w, value[h], first, rows, out[h, g : g + _ABREAST, :-1])
            for t in range(real):
                out[h, g + t, -1] = w[t, 0]
                out[h, g + t] /= total[t]
