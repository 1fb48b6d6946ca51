"""The page of several runs: their curves over each other, and one table."""

import math
from pathlib import Path
from typing import Any

from marm.report import page
from marm.report.figures import Line, lines
from marm.report.read import Run, read_run
from marm.report.run import curve, figure_card
from marm.report.table import grouped, result_row
from marm.report.text import figure, mapping, number


def write_comparison_report(
    folder: Path, named_results: dict[str, Path | dict[str, Any]], ceiling: dict[str, Any] | None = None
) -> Path:
    """Write ``report.html`` about runs by name, each a run folder or a result.

    ``ceiling`` holds what no model can beat, as GAUC by task or as figures by task: {"click": 0.85} or
    {"click": {"gauc": 0.85, ...}}.
    """
    runs = [_run(name, given) for name, given in named_results.items()]
    top = _ceiling(ceiling or {})
    tasks = list(dict.fromkeys(task for run in runs for task in run.task_names()))
    charts = [_curves(runs, task, top.get(task, math.nan)) for task in tasks]
    text = page.page(
        f"{len(runs)} runs compared",
        ", ".join(run.name for run in runs),
        [
            page.tiles(_best(runs, tasks, top)),
            page.section("GAUC", charts),
            page.section("Figures", [_table(runs, top)]),
        ],
    )
    return page.save(folder / "report.html", text)


def _run(name: str, given: Path | dict[str, Any]) -> Run:
    return Run(name, given) if isinstance(given, dict) else read_run(given, name)


def _ceiling(given: dict[str, Any]) -> dict[str, float]:
    values = {
        task: number(mapping(value).get("gauc", value)) for task, value in mapping(given.get("tasks", given)).items()
    }
    return {task: value for task, value in values.items() if math.isfinite(value)}


def _gauc(run: Run, task: str) -> float:
    return number(mapping(mapping(run.result.get("tasks")).get(task)).get("gauc"))


def _best(runs: list[Run], tasks: list[str], top: dict[str, float]) -> list[tuple[str, str]]:
    out = []
    for task in tasks:
        known = [(value, run.name) for run in runs if math.isfinite(value := _gauc(run, task))]
        if known:
            value, name = max(known)
            out.append((f"Best GAUC, {task}: {name}", figure(value)))
        if task in top:
            out.append((f"Ceiling, {task}", figure(top[task])))
    return out


def _curves(runs: list[Run], task: str, top: float) -> str:
    made = [curve(run, run.name, run.over_time("tasks", task, "gauc"), smoothed=True) for run in runs]
    curves = [Line(one.name, one.x, one.y) for one in made if one]
    if not curves:
        return ""
    draw = lines(curves, (0, 1), mark=top)
    dashed = "ceiling" if math.isfinite(top) else ""
    note = "Moving mean over a twentieth of the run; each event is scored before it is learned from."
    return page.chart(
        figure_card(f"GAUC over events, {task}", note, draw, [one.name for one in curves], wide=True, dashed=dashed)
    )


def _table(runs: list[Run], top: dict[str, float]) -> str:
    rows = [result_row(run.name, run.result) for run in runs]
    if top:
        rows.append({"label": "ceiling", **{f"{task} GAUC": value for task, value in top.items()}})
    head, cells = grouped(rows)
    kept = [i for i in range(len(head)) if head[i] != "runs"]
    note = "Last fifth of the events, by time."
    return page.table("Runs", note, [head[i] for i in kept], [[line[i] for i in kept] for line in cells])
