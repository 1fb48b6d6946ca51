"""What the pages of studies share: models in a table, beside one of them, with what they cost."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, DASHES, MUTED, Draw, ticks
from marm.report.run import figure_card
from marm.report.text import QUALITY, count, figure, number, size, whole
from marm.study.compare import Compared
from marm.study.interval import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES = ("gauc", "auc", "ne")
COSTS = ["events/s", "FLOPs an event", "ms for 500", "states"]
BARS = "Bars hold 95 % of what users drawn with replacement give and seeds spread by (one seed: users alone)"

Cells = tuple[list[str], list[list[str]]]
"""Head and rows of a table."""


def markdown(cells: Cells) -> str:
    """A table for a terminal; the first column is words."""
    head, rows = cells
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ranked(models: Sequence[Compared], task: str) -> list[Compared]:
    """Models, best GAUC first."""
    return sorted(models, key=lambda model: -model.aucs[task].gauc)


def quality(models: Sequence[Compared], task: str, base: str) -> Cells:
    """Figures of one task, best GAUC first, each beside the model named."""
    head = ["model", *(f"{task} {QUALITY[name]}" for name in FIGURES), f"GAUC above {base} (95 %)"]
    rows = []
    for model in ranked(models, task):
        told = [spread([one.result["tasks"][task][name] for one in model.trained]) for name in FIGURES]
        rows.append([model.name, *told, gap_text(model.above.get(task))])
    return head, rows


def figures(models: Sequence[Compared], tasks: Sequence[str], base: str) -> list[str]:
    """Cards of quality: differences of each task, its figures, and new users and warm ones of the first."""
    note = "Mean and deviation over seeds, on the last fifth of the events; every event is scored before it is learned from."
    forests = [forest(models, task, base) for task in tasks]
    tables = [page.table(f"Figures, {task}", note, *quality(models, task, base)) for task in tasks]
    return [*forests, *tables, _by_past(models, tasks[0], base)]


def _by_past(models: Sequence[Compared], task: str, base: str) -> str:
    """A card: the first task's GAUC among new users and among warm ones, each beside the model named."""
    first = models[0].parts
    told = "; ".join(f"{part.name}: {part.past} ({whole(part.scored)} scored rows)" for part in first)
    head = ["model", *(name for part in first for name in (part.name, f"above {base} (95 %)"))]
    rows = [
        [model.name, *(cell for part in model.parts for cell in (figure(part.aucs.gauc), gap_text(part.above)))]
        for model in ranked(models, task)
    ]
    return page.table(f"GAUC of new users and of warm ones, {task}", f"{told[:1].upper()}{told[1:]}.", head, rows)


def costs(model: Compared) -> list[str]:
    """What a model costs, as ``COSTS`` heads it."""
    results = [one.result for one in model.trained]
    speed = statistics.median(number(result["events_per_s"]) for result in results)
    memory = results[0]["memory"]
    states = memory["bytes"] if memory["hit_rate"] else 0
    return [whole(speed), count(results[0]["flops_per_event"]), f"{model.milliseconds:.1f}", size(states)]


def beside(first: Cells, head: list[str], cells: dict[str, list[str]]) -> Cells:
    """A table with more columns, by the name that a row begins with."""
    return [*first[0], *head], [[*row, *cells[row[0]]] for row in first[1]]


def spread(values: Sequence[object]) -> str:
    """Mean and deviation over seeds."""
    known = [value for value in map(number, values) if math.isfinite(value)]
    if not known:
        return figure(None)
    mean = statistics.fmean(known)
    return f"{mean:.4f} ± {statistics.stdev(known):.4f}" if len(known) > 1 else f"{mean:.4f}"


def gap_text(gap: Difference | None) -> str:
    """A difference and its interval; nothing for the model that all are compared with."""
    return f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})" if gap else ""


def headline(models: Sequence[Compared], task: str, base: str) -> list[tuple[str, str]]:
    """Tiles: the model that all are compared with, the best, and how many differ clearly."""
    best, own = ranked(models, task)[0], next(model for model in models if model.name == base)
    gaps = [model.above[task] for model in models if model is not own]
    return [
        (f"{base}, {task} GAUC", figure(own.aucs[task].gauc)),
        (f"Best: {best.name}", figure(best.aucs[task].gauc)),
        (f"Clearly below {base}", f"{sum(gap.high < 0 for gap in gaps)} of {len(gaps)}"),
        (f"Clearly above {base}", f"{sum(gap.low > 0 for gap in gaps)} of {len(gaps)}"),
    ]


def forest(models: Sequence[Compared], task: str, base: str) -> str:
    """A card: each model's difference and its interval."""
    others = [model for model in ranked(models, task) if task in model.above]
    if not others:
        return ""
    draw = intervals([model.name for model in others], [model.above[task] for model in others])
    note = f"{BARS}; {base} is the dashed line."
    return page.chart(figure_card(f"GAUC above {base}, {task}", note, draw, [], wide=True))


def intervals(names: list[str], gaps: list[Difference], unit: Literal["", "%"] = "") -> Draw:
    """A point and its interval for each name, the first on top, with a dashed line at zero."""
    scale = 100 if unit else 1

    def draw(axes: "Axes") -> None:
        at = np.arange(len(names))[::-1]
        axes.axvline(0, color=MUTED, linewidth=1.2, linestyle=DASHES)
        for place, gap in zip(at, gaps, strict=True):
            colour = COLOURS[0] if gap.low > 0 else COLOURS[1] if gap.high < 0 else COLOURS[5]
            axes.plot([scale * gap.low, scale * gap.high], [place, place], color=colour, linewidth=2.2)
            axes.plot([scale * gap.value], [place], "o", color=colour, markersize=5)
        axes.set_yticks(at, names)
        axes.set_ylim(-0.7, len(names) - 0.3)
        if unit:
            axes.xaxis.set_major_locator(ticks(5))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g} {unit}" if value else f"0 {unit}")
        axes.grid(axis="x", alpha=0.4)

    return draw


def origin(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the figures come from."""
    return [
        ("Commit", str(result["commit"])[:10]),
        ("Data", str(result["data_hash"])[:10]),
        ("Machine", f"{result['machine']['cpu']}, {result['machine']['cores']} cores"),
        ("Events", whole(result["events"])),
    ]
