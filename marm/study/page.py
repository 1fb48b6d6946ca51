"""The page of a study of rivals: one self-contained file, and the same table for a terminal."""

import math
import statistics
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from marm.report import page
from marm.report.figures import COLOURS, DASHES, MUTED, Draw
from marm.report.run import figure_card
from marm.report.text import QUALITY, count, figure, number, size, whole
from marm.study.interval import Difference
from marm.study.rivals import TUNED_ON, Compared, Study


def write_page(out: Path, study: Study) -> Path:
    """Write ``report.html``."""
    tasks = list(study.models[0].aucs)
    marm = next(model for model in study.models if model.name == "marm")
    parts = [
        page.tiles(_headline(study, marm, tasks[0])),
        page.section("Quality", [_forest(study, task) for task in tasks] + [_quality(study, task) for task in tasks]),
        page.section("Cost", [_cost(study)]),
        page.section("How", [page.pairs("Protocol", _protocol(study)), _points(study)]),
    ]
    subtitle = f"{len(study.models)} models, {len(marm.trained)} seeds, one log, last fifth of the events"
    return page.save(out / "report.html", page.page("MARM and its rivals", subtitle, parts))


def table(study: Study) -> str:
    """Markdown: every model's figures, best GAUC of the main task first."""
    head, rows = figures_of(study, next(iter(study.models[0].aucs)))
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def figures_of(study: Study, task: str) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table of one task."""
    names = ("gauc", "auc", "ne")
    head = ["model", *(f"{task} {QUALITY[name]}" for name in names), "GAUC above MARM (95 %)"]
    head += ["events/s", "FLOPs an event", "ms for 500", "states"]
    rows = []
    for model in ranked(study, task):
        told = [_spread([one.result["tasks"][task][name] for one in model.trained]) for name in names]
        gap = model.above_marm.get(task)
        rows.append([model.name, *told, _gap(gap) if gap else "", *_costs(model)])
    return head, rows


def ranked(study: Study, task: str) -> list[Compared]:
    """Models, best GAUC first."""
    return sorted(study.models, key=lambda model: -model.aucs[task].gauc)


def _costs(model: Compared) -> list[str]:
    results = [one.result for one in model.trained]
    speed = statistics.median(number(result["events_per_s"]) for result in results)
    memory = results[0]["memory"]
    states = memory["bytes"] if memory["hit_rate"] else 0
    return [whole(speed), count(results[0]["flops_per_event"]), f"{model.milliseconds:.1f}", size(states)]


def _spread(values: list[object]) -> str:
    known = [value for value in map(number, values) if math.isfinite(value)]
    if not known:
        return figure(None)
    mean = statistics.fmean(known)
    return f"{mean:.4f} ± {statistics.stdev(known):.4f}" if len(known) > 1 else f"{mean:.4f}"


def _gap(gap: Difference) -> str:
    return f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"


def _headline(study: Study, marm: Compared, task: str) -> list[tuple[str, str]]:
    best = ranked(study, task)[0]
    gaps = [model.above_marm[task] for model in study.models if model.name != "marm"]
    worse = sum(gap.high < 0 for gap in gaps)
    better = sum(gap.low > 0 for gap in gaps)
    return [
        (f"MARM, {task} GAUC", figure(marm.aucs[task].gauc)),
        (f"Best: {best.name}", figure(best.aucs[task].gauc)),
        ("Clearly below MARM", f"{worse} of {len(gaps)}"),
        ("Clearly above MARM", f"{better} of {len(gaps)}"),
    ]


def _forest(study: Study, task: str) -> str:
    others = [model for model in ranked(study, task) if task in model.above_marm]
    if not others:
        return ""
    note = "Bars hold 95 % of what users and seeds drawn with replacement give; MARM is the dashed line."
    draw = intervals([model.name for model in others], [model.above_marm[task] for model in others])
    return page.chart(figure_card(f"GAUC above MARM, {task}", note, draw, [], wide=True))


def intervals(names: list[str], gaps: list[Difference]) -> Draw:
    """A point and its interval for each name, the first on top, with a dashed line at zero."""

    def draw(axes: Axes) -> None:
        at = np.arange(len(names))[::-1]
        axes.axvline(0, color=MUTED, linewidth=1.2, linestyle=DASHES)
        for place, gap in zip(at, gaps, strict=True):
            colour = COLOURS[0] if gap.low > 0 else COLOURS[1] if gap.high < 0 else COLOURS[5]
            axes.plot([gap.low, gap.high], [place, place], color=colour, linewidth=2.2)
            axes.plot([gap.value], [place], "o", color=colour, markersize=5)
        axes.set_yticks(at, names)
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.grid(axis="x", alpha=0.4)

    return draw


def _quality(study: Study, task: str) -> str:
    head, rows = figures_of(study, task)
    note = "Mean and deviation over seeds, on the last fifth of the events; every event is scored before it is learned from."
    return page.table(f"Figures, {task}", note, head[:5], [row[:5] for row in rows])


def _cost(study: Study) -> str:
    head, rows = figures_of(study, next(iter(study.models[0].aucs)))
    note = (
        "Events/s: training, end to end, the median of the seeds. FLOPs: products of matrices, forward, for an event of a user "
        "of its own. Milliseconds: one request of 500 candidates for the user with the most events, from a finished run. "
        "States: what is remembered."
    )
    return page.table("Cost", note, [head[0], *head[5:]], [[row[0], *row[5:]] for row in rows])


def _points(study: Study) -> str:
    rows = [[model.name, ", ".join(model.point) or "as set"] for model in study.models]
    return page.table("Chosen settings", "The best place on the grid, for each model.", ["model", "setting"], rows, 2)


def _protocol(study: Study) -> list[tuple[str, str]]:
    first, places = study.models[0].trained[0].result, len(study.places)
    tuned = f"the first {TUNED_ON:.0%} of the log, {places} places on the grid for each model"
    tuned = tuned if places > 1 else "nothing: every model takes the settings as they are"
    return [
        ("Tuned on", tuned),
        ("Measured on", "the last fifth of the whole log, predict then learn"),
        ("Commit", str(first["commit"])[:10]),
        ("Data", str(first["data_hash"])[:10]),
        ("Machine", f"{first['machine']['cpu']}, {first['machine']['cores']} cores"),
        ("Events", whole(first["events"])),
    ]
