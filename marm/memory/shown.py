"""Where the rows of a ring lie that may be seen: a filtered history hides what lies at its newest end until it is known."""

from typing import Any

import numba as nb
import numpy as np

from marm.types import I64


@nb.njit(cache=True, nogil=True)
def locate_shown(
    time: Any, known: Any, at: I64, head: I64, before: I64, count: int, capacity: int
) -> tuple[I64, I64, I64]:
    """Rows strictly before a time, from the oldest of the newest ``count`` that are known by then on.

    First position, rows, and how many of those ``count`` the ring has lost. A row is known once it and all before it are.
    """
    first, counts, lost = np.empty_like(at), np.empty_like(at), np.empty_like(at)
    for b in range(len(at)):
        slot = at[b]
        oldest = max(0, head[slot] - capacity)
        end = oldest
        while end < head[slot] and time[slot, end % capacity] < before[b] and known[slot, end % capacity] <= before[b]:
            end += 1
        first[b] = max(oldest, end - count)
        lost[b] = first[b] - max(0, end - count)
        while end < head[slot] and time[slot, end % capacity] < before[b]:
            end += 1
        counts[b] = end - first[b]
    return first, counts, lost
