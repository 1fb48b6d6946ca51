"""A page on the age of memory: what reading older states costs."""

from pathlib import Path
from typing import Any

import numpy as np

from marm.report.figures import LARGE, SMALL, Line, lines, render
from marm.report.page import Chart, chart, page, save, section, table

_HEAD = ["mean age (steps)", "events", "GAUC, remembered", "GAUC, made anew", "difference", "drift of the score"]


def age_page(folder: Path, tasks: dict[str, list[dict[str, Any]]]) -> Path:
    """Write ``age.html`` into a run folder from the tables of its tasks: all events first, then by age."""
    parts = [section(f"Task {name}", [*_charts(name, rows), _table(rows)]) for name, rows in tasks.items()]
    subtitle = (
        "The last fifth of the stream, scored with the rows that were remembered, and with the same rows made anew."
    )
    return save(folder / "age.html", page(f"{folder.name}: age of memory", subtitle, parts))


def _charts(name: str, rows: list[dict[str, Any]]) -> list[str]:
    by_age = rows[1:]
    if len(by_age) < 2:
        return []
    x = np.array([row["age_steps"] for row in by_age])
    curves = [Line(label, x, np.array([row[f"gauc_{key}"] for row in by_age]))
              for label, key in (("remembered", "remembered"), ("made anew", "fresh"))]  # fmt: skip
    drift = [Line("drift", x, np.array([row["drift"] for row in by_age]))]
    drawn = [(f"GAUC by age, {name}", curves, ("remembered", "made anew"), "across: mean age of the rows read, in steps"),
             (f"Drift by age, {name}", drift, (), "mean change of the log odds when rows are made anew")]  # fmt: skip
    return [
        chart(Chart(title, note, render(title, lines(some), LARGE), render(title, lines(some), SMALL), legend))
        for title, some, legend, note in drawn
    ]


def _table(rows: list[dict[str, Any]]) -> str:
    cells = [
        [
            f"{row['age_steps']:,.0f}",
            f"{row['events']:,}",
            f"{row['gauc_remembered']:.4f}",
            f"{row['gauc_fresh']:.4f}",
            f"{row['gauc_fresh'] - row['gauc_remembered']:+.4f}",
            f"{row['drift']:.3f}",
        ]
        for row in rows
    ]
    return table("By age of what was read", "All events that read a state first.", _HEAD, cells, text=0)
