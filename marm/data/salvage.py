"""Bad rows found among good ones, where all of them are read at once."""

from collections.abc import Callable
from typing import TypeVar

from polars.exceptions import PolarsError

from marm.errors import DataError, first_line

T = TypeVar("T")


def salvage(rows: int, make: Callable[[int, int], T], refuse: Callable[[int, str], object]) -> list[T]:
    """What ``make`` makes of rows from one place to before another: of all at once, or of all but the bad ones.

    It is tried with halves, and halves of these, until bad rows are alone: their places are told to ``refuse``, and why.
    """
    return _between(0, rows, make, refuse)


def _between(begin: int, end: int, make: Callable[[int, int], T], refuse: Callable[[int, str], object]) -> list[T]:
    if begin == end:
        return []
    try:
        return [make(begin, end)]
    except (DataError, PolarsError) as error:
        if end - begin == 1:
            refuse(begin, first_line(error))
            return []
    middle = (begin + end) // 2
    return _between(begin, middle, make, refuse) + _between(middle, end, make, refuse)
