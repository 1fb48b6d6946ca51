"""What is known of an event apart from its states: one fixed row of bytes, time first."""

from typing import Any

import numpy as np


def facts_dtype(item_columns: list[str], keys: int = 0) -> np.dtype[Any]:
    """The row: times in microseconds, the item's hash and logged categories, outcome code, version of the weights.

    ``keys``: numbers that a search knows it by, where there is one.
    """
    fields: list[Any] = [
        ("time", "<i8"),
        ("known", "<i8"),
        ("item", "<u8"),
        ("version", "<u4"),
        ("outcome", "<i2"),
        ("spare", "<i2"),
        ("columns", "<u8", (len(item_columns),)),
    ]
    return np.dtype(fields + [("keys", "<u8", (keys,))] * (keys > 0))
