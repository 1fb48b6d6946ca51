"""The page of one run: ``report.html``, a single file that loads nothing and opens anywhere."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from marm.report import page
from marm.report.figures import LARGE, SMALL, WIDE, Draw, Line, bars, diagonal, lines, render, smooth, thin
from marm.report.read import Run, read_run
from marm.report.stages import stage_tables
from marm.report.text import QUALITY, count, figure, mapping, number, plain, share, size, whole
from marm.types import F64

COUNTS = ("events", "positives", "users_left_out")


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from what the run folder holds; what is missing is absent from the page."""
    run = read_run(folder)
    summaries = [_summary(run, key, title) for key, title in (("data", "Data"), ("machine", "Machine"))]
    parts = [
        page.tiles(_headline(run)),
        page.section("Quality", [_gauc(run), *_errors(run), _quality(run), _calibration(run), _losses(run)]),
        page.section("Memory", [_hit_rate(run), _ages(run), _memory_bytes(run), _memory(run)]),
        page.section("Stages", stage_tables(run.result)),
        page.section("Speed", [_throughput(run), _segments(run)]),
        page.section("Model and data", [_model(run), *summaries], "thirds"),
        page.section("Settings", [page.settings(mapping(run.result.get("config")))]),
    ]
    return page.save(folder / "report.html", page.page(run.name, _origin(run.result), parts))


def figure_card(
    title: str, note: str, draw: Draw, legend: list[str], *, wide: bool = False, dashed: str = ""
) -> page.Chart:
    """A figure drawn for large and for small screens."""
    large = render(title, draw, WIDE if wide else LARGE)
    return page.Chart(title, note, large, render(title, draw, SMALL), tuple(legend), dashed, wide)


def curve(run: Run, name: str, values: F64, *, smoothed: bool = False) -> Line | None:
    """Values of the windows over events; None where no window has one."""
    events = run.over_time("events")
    if not np.isfinite(events + values).any():
        return None
    x, y = thin(events, values)
    width = max(1, len(y) // 20) if smoothed else 1
    return Line(name, x, smooth(y, width), y) if width > 1 else Line(name, x, y)


def _origin(result: dict[str, Any]) -> str:
    parts = [f"commit {str(result['commit'])[:10]}"] if result.get("commit") else []
    parts += [
        f"{name} {str(result[key])[:10]}"
        for key, name in (("config_hash", "settings"), ("data_hash", "data"))
        if result.get(key)
    ]
    parts = [str(result["of"]), *parts] if result.get("of") else parts
    return " · ".join([f"seed {result['seed']}", *parts] if "seed" in result else parts)


def _headline(run: Run) -> list[tuple[str, str]]:
    result, tasks = run.result, mapping(run.result.get("tasks"))
    memory = mapping(result.get("memory"))
    hits = [value for value in map(number, _listed(memory.get("hit_rate"))) if math.isfinite(value)]
    found: list[tuple[str, Callable[[Any], str], Any]] = [
        ("Events", count, result.get("events")),
        ("Events per second", whole, result.get("events_per_s")),
    ]
    found += [(f"GAUC, {name}", figure, mapping(tasks[name]).get("gauc")) for name in tasks]
    found += [
        ("Hit rate", share, sum(hits) / len(hits) if hits else None),
        ("Memory", size, memory.get("bytes")),
        ("Process memory", size, result.get("peak_rss_bytes")),
    ]
    return [(label, show(value)) for label, show, value in found if math.isfinite(number(value))]


def _gauc(run: Run) -> str:
    made = [curve(run, name, run.over_time("tasks", name, "gauc"), smoothed=True) for name in run.task_names()]
    curves = [one for one in made if one]
    if not curves:
        return ""
    note = (
        "Each window's events are scored before they are learned from. Bold: moving mean over a twentieth of the run."
    )
    card = figure_card("GAUC over events", note, lines(curves, (0, 1)), [one.name for one in curves], wide=True)
    return page.chart(card)


def _errors(run: Run) -> list[str]:
    cards = []
    for task in run.task_names():
        one = curve(run, task, run.over_time("tasks", task, "rmse"), smoothed=True)
        if one:
            cards.append(page.chart(figure_card(f"RMSE over events, {task}", "", lines([one]), [])))
    return cards


def _quality(run: Run) -> str:
    rows = []
    parts = (("tasks", "last fifth"), ("whole", "whole stream"))
    found = [
        (task, name, mapping(mapping(run.result.get(key)).get(task)))
        for task in run.task_names()
        for key, name in parts
    ]
    shown = [name for name in QUALITY if any(math.isfinite(number(figures.get(name))) for *_, figures in found)]
    for task, name, figures in found:
        if figures:
            rows.append([task, name, *((whole if key in COUNTS else figure)(figures.get(key)) for key in shown)])
    note = "GAUC: AUC within each user, weighted by the user's scored events; users of one class are left out."
    return page.table("Figures by task", note, ["task", "over", *(QUALITY[name] for name in shown)], rows, text=2)


def _calibration(run: Run) -> str:
    found = [(task, *run.calibration_bins(task)) for task in run.task_names()]
    curves = [
        Line(task, predicted, observed)
        for task, predicted, observed in found
        if np.isfinite(predicted + observed).any()
    ]
    if not curves:
        return ""
    note = "Share observed over probability predicted, in bins of equally many predictions."
    return page.chart(figure_card("Calibration", note, diagonal(curves), [one.name for one in curves], dashed="ideal"))


def _losses(run: Run) -> str:
    made = [curve(run, name, run.over_time("tasks", name, "ne"), smoothed=True) for name in run.task_names()]
    curves = [one for one in made if one]
    if not curves:
        return ""
    note = "Log loss over that of the base rate; below 1 a model knows more."
    return page.chart(figure_card("Normalized entropy over events", note, lines(curves), [one.name for one in curves]))


def _by_depth(run: Run, name: str, title: str, note: str, draw: Callable[[list[Line]], Draw]) -> str:
    made = [curve(run, f"depth {i + 1}", values) for i, values in enumerate(run.depths_over_time(name))]
    curves = [one for one in made if one]
    return page.chart(figure_card(title, note, draw(curves), [one.name for one in curves])) if curves else ""


def _hit_rate(run: Run) -> str:
    note = "Share of the rows asked for whose state was remembered or live."
    return _by_depth(run, "hit_rate", "Hit rate by depth", note, lambda curves: lines(curves, (0, 1), "%"))


def _ages(run: Run) -> str:
    note = "Median number of weight updates between making a row and reading it."
    return _by_depth(run, "age_steps", "Age of rows by depth", note, lambda curves: lines(curves, unit="n"))


def _memory_bytes(run: Run) -> str:
    one = curve(run, "bytes", run.over_time("memory_bytes"))
    return page.chart(figure_card("Memory held", "", lines([one], unit="B"), [])) if one else ""


def _memory(run: Run) -> str:
    memory, age = mapping(run.result.get("memory")), mapping(run.result.get("age"))
    shown: list[tuple[str, Callable[[Any], str], Any]] = [
        ("Users", plain, memory.get("users")),
        ("Rows", plain, memory.get("rows")),
        ("Bytes", size, memory.get("bytes")),
    ]
    shown += [(f"Hit rate, depth {i + 1}", share, hit) for i, hit in enumerate(_listed(memory.get("hit_rate")))]
    shown += [
        ("Age in steps, median", plain, age.get("steps_p50")),
        ("Age in steps, 90th percentile", plain, age.get("steps_p90")),
    ]
    return page.pairs("At the end", [(label, show(value)) for label, show, value in shown if value is not None])


def _throughput(run: Run) -> str:
    one = curve(run, "events per second", run.over_time("events_per_s"), smoothed=True)
    draw = lines([one], unit="n") if one else None
    return page.chart(figure_card("Events per second", "Over the run, by window.", draw, [])) if draw else ""


def _segments(run: Run) -> str:
    counts = _listed(mapping(run.result.get("segments")).get("counts"))
    heights = np.array([number(value) for value in counts], np.float64)
    heights = np.trim_zeros(np.nan_to_num(heights), "b")
    if not len(heights):
        return ""
    note = "Share of events learned in a segment of this many events of their user."
    return page.chart(figure_card("Segment lengths", note, bars(heights / heights.sum()), []))


def _model(run: Run) -> str:
    held = mapping(run.result.get("parameters"))
    shown = [
        ("Dense parameters", held.get("dense")),
        ("Sparse parameters", held.get("sparse")),
        ("Sparse parameters touched", held.get("sparse_touched")),
        ("FLOPs per event", run.result.get("flops_per_event")),
    ]
    return page.pairs("Model", [(label, count(value)) for label, value in shown if math.isfinite(number(value))])


def _summary(run: Run, key: str, title: str) -> str:
    given = mapping(run.result.get(key)).items()
    values = [(str(name).replace("_", " "), plain(value)) for name, value in given if not isinstance(value, dict)]
    return page.pairs(title, values)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
