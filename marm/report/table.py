"""Several results in one table: mean and deviation over the seeds of a label."""

import math
import statistics
from collections.abc import Collection, Iterable
from typing import Any

from marm.report.text import ABSENT, QUALITY, decimals, mapping, number

NOT_FIGURES = ("label", "seed")
TASK_FIGURES = ("gauc", "auc", "per_event_auc", "logloss", "ne", "rmse", "mae")


def comparison(rows: list[dict[str, Any]]) -> str:
    """A Markdown table that also reads well on a terminal; empty without rows.

    A row holds "label", perhaps "seed", and figures by name. Rows of one label become one line: the mean, and the
    sample standard deviation where there are two or more.
    """
    if not rows:
        return ""
    head, lines = grouped(rows)
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (head, *lines)]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(head))]
    rule = [":" + "-" * (widths[0] - 1)] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join(_line(line, widths) for line in (cells[0], rule, *cells[1:])) + "\n"


def grouped(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table, labels and figures in the order of their first appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in NOT_FIGURES))
    labels = list(dict.fromkeys(str(row.get("label", "")) for row in rows))
    lines = []
    for label in labels:
        own = [row for row in rows if str(row.get("label", "")) == label]
        lines.append([label, str(len(own)), *(_cell(row.get(name) for row in own) for name in names)])
    return ["", "runs", *names], lines


def result_row(label: str, result: dict[str, Any], only: Collection[str] = TASK_FIGURES) -> dict[str, Any]:
    """The figures of a ``result.json`` that runs are compared by: those of its tasks, events a segment, events a second.

    ``only``: which figures of tasks, by their names in the file.
    """
    row: dict[str, Any] = {"label": label}
    if "seed" in result:
        row["seed"] = result["seed"]
    for task, figures in mapping(result.get("tasks")).items():
        row |= {f"{task} {QUALITY[name]}": value for name, value in mapping(figures).items() if name in only}
    lengths = mapping(result.get("segments")).get("counts")
    if lengths and sum(lengths):
        row["events a segment"] = sum(i * count for i, count in enumerate(lengths, 1)) / sum(lengths)
    if "events_per_s" in result:
        row["events/s"] = result["events_per_s"]
    return row


def _cell(values: Iterable[Any]) -> str:
    known = [value for value in map(number, values) if math.isfinite(value)]
    if not known:
        return ABSENT
    mean = statistics.fmean(known)
    places = decimals(mean)
    text = f"{mean:,.{places}f}"
    return text if len(known) < 2 else f"{text} ± {statistics.stdev(known):,.{places}f}"


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [cells[0].ljust(widths[0])] + [
        cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
    ]
    return "| " + " | ".join(padded) + " |"
