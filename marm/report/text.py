"""Numbers as people read them."""

import math
from typing import Any

ABSENT = "–"

QUALITY = {
    "gauc": "GAUC",
    "auc": "AUC",
    "per_event_auc": "per-event AUC",
    "logloss": "log loss",
    "ne": "norm. entropy",
    "calibration": "calibration",
    "rmse": "RMSE",
    "mae": "MAE",
    "events": "events",
    "positives": "positives",
    "users_left_out": "users left out",
}


def number(value: Any) -> float:
    """A float; NaN for what is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def mapping(value: Any) -> dict[str, Any]:
    """A dict; empty for what is none."""
    return value if isinstance(value, dict) else {}


def count(value: Any) -> str:
    """1234567 as ``1.23 M``; 987 as ``987``."""
    return _scaled(number(value), 1000, ("", "k", "M", "G", "T"))


def many(number: int, what: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number} {what}" + "s" * (number != 1)


def whole(value: Any) -> str:
    """4893.2 as ``4,893``."""
    given = number(value)
    return f"{given:,.0f}" if math.isfinite(given) else ABSENT


def size(value: Any) -> str:
    """Bytes: 1572864 as ``1.5 MiB``."""
    return _scaled(number(value), 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def share(value: Any) -> str:
    """0.973 as ``97.3 %``."""
    given = number(value)
    return f"{100 * given:.1f} %" if math.isfinite(given) else ABSENT


def figure(value: Any) -> str:
    """A metric: four decimals below ten, whole numbers in thousands."""
    given = number(value)
    return f"{given:,.{decimals(given)}f}" if math.isfinite(given) else ABSENT


def decimals(value: float) -> int:
    """Decimals that leave at least four digits of a metric."""
    for least, places in ((1000, 0), (100, 1), (10, 2)):
        if abs(value) >= least:
            return places
    return 4


def plain(value: Any) -> str:
    """Any value of a settings or summary table."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(plain(entry) for entry in value) if isinstance(value, list) else str(value)


def _scaled(value: float, step: int, names: tuple[str, ...]) -> str:
    if not math.isfinite(value):
        return ABSENT
    power = 0
    while abs(value) >= step - 0.5 and power < len(names) - 1:
        value, power = value / step, power + 1
    digits = f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{digits} {names[power]}".strip()
