"""A small grid of settings, the same for every model."""

from collections.abc import Sequence
from itertools import product

from marm.config import RunConfig, set_values
from marm.config.load import check_run
from marm.errors import SettingError


def default_grid(run: RunConfig) -> list[str]:
    """Half, as set and twice the rate; half and the whole window."""
    rate, window = run.train.learning_rate, run.memory.window
    return [
        f"train.learning_rate={rate / 2},{rate},{rate * 2}",
        f"memory.window={max(window // 2, run.train.live)},{window}",
    ]


def points(grid: Sequence[str]) -> list[tuple[str, ...]]:
    """Every combination of ``section.key=value,value`` lines, as lists of ``section.key=value``."""
    axes = []
    for line in grid:
        key, equals, values = line.partition("=")
        if not equals or not values:
            raise SettingError(f"--grid {line}: give section.key=value,value")
        axes.append([f"{key.strip()}={value.strip()}" for value in dict.fromkeys(values.split(","))])
    return list(product(*axes))


def at(run: RunConfig, sets: Sequence[str]) -> RunConfig:
    """A run with these settings in place of its own. Errors: ``SettingError`` naming the first wrong one."""
    raw = run.model_dump(exclude_none=True)
    set_values(raw, sets)
    return check_run(raw, " ".join(sets) or "study")
