"""Arrays by place that grow with the catalogue: room is doubled, so that a new item costs what it is, not all before it."""

from typing import Any

import numpy as np


def room(array: Any, rows: int, fill: Any = 0) -> Any:
    """The array, or one with room for ``rows`` entries that begins with it, the rest ``fill``."""
    if rows <= len(array):
        return array
    larger = np.full((max(rows, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    larger[: len(array)] = array
    return larger
