"""The page of a study of costs, and the same table for a terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, Draw, Line
from marm.report.run import figure_card
from marm.report.text import count
from marm.study.complexity import WAYS, Cost, along, middle, slope

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"window": ("n", "layers"), "layers": ("L", "window")}
Figure = tuple[str, Callable[[Cost], float]]
FIGURES: list[Figure] = [("milliseconds", lambda cost: cost.milliseconds), ("FLOPs", lambda cost: cost.flops)]


def write_page(out: Path, costs: Sequence[Cost], where: dict[str, object]) -> Path:
    """Write ``report.html``."""
    one = costs[0].setting
    head, rows = figures_of(costs)
    charts = [_chart(costs, axis, figure) for axis in AXES for figure in FIGURES]
    note = "Exponents: how the cost grows along the axis, a line through logarithms; 1 is in proportion, 2 with the square."
    text = page.page(
        "What a target costs",
        f"width {one.width}, {one.users} users with one target each, one core's time, forward pass of the layers alone",
        [
            page.section("Cost of one target", charts),
            page.section("Figures", [page.table("All that was measured", "", head, rows)]),
            page.section("Growth", [page.table("Exponents", note, *growth(costs))]),
            page.section("Machine", [page.pairs("Measured on", [(key, str(value)) for key, value in where.items()])]),
        ],
    )
    return page.save(out / "report.html", text)


def figures_of(costs: Sequence[Cost]) -> tuple[list[str], list[list[str]]]:
    """Head and cells: a line for each place, time and FLOPs of each way, and MARM's gain over a full recompute."""
    places = sorted({(cost.setting.window, cost.setting.layers) for cost in costs})
    found = {(cost.setting.way, cost.setting.window, cost.setting.layers): cost for cost in costs}
    rows = []
    for place in places:
        own = {way: found[way, *place] for way in WAYS}
        gain = own["recomputed"].milliseconds / own["MARM"].milliseconds
        told = [f"{own[way].milliseconds:.3f}" for way in WAYS] + [count(own[way].flops) for way in WAYS]
        rows.append([*map(str, place), *told, f"{gain:.1f}"])
    names = [f"{way}, {unit}" for unit in ("ms", "FLOPs") for way in WAYS]
    return ["n", "L", *names, "recomputed / MARM, time"], rows


def growth(costs: Sequence[Cost]) -> tuple[list[str], list[list[str]]]:
    """Head and cells: each way's exponents."""
    rows = []
    for way in WAYS:
        cells = [way]
        for axis, (_, other) in AXES.items():
            own = along(costs, way, axis, other, _held(costs, other))
            cells += [f"{slope(own, axis, figure):.2f}" if len(own) > 1 else "" for _, figure in FIGURES]
        rows.append(cells)
    return ["", *(f"{name} in {letter}" for letter, _ in AXES.values() for name, _ in FIGURES)], rows


def table(costs: Sequence[Cost]) -> str:
    """Markdown of the figures."""
    head, rows = figures_of(costs)
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _held(costs: Sequence[Cost], other: str) -> int:
    """Where the other axis stands while this one is walked along."""
    return middle(sorted({int(getattr(cost.setting, other)) for cost in costs}))


def _chart(costs: Sequence[Cost], axis: str, figure: Figure) -> str:
    (letter, other), (name, value) = AXES[axis], figure
    held = _held(costs, other)
    curves = []
    for way in WAYS:
        own = along(costs, way, axis, other, held)
        at = np.array([float(getattr(cost.setting, axis)) for cost in own])
        curves.append(Line(way, at, np.array([float(value(cost)) for cost in own])))
    if len(curves[0].x) < 2:
        return ""
    note = f"{AXES[other][0]} = {held}; both axes logarithmic."
    return page.chart(figure_card(f"{name} against {letter}", note, logarithmic(curves), list(WAYS)))


def logarithmic(curves: Sequence[Line]) -> Draw:
    """Curves on logarithmic axes, where a power is a straight line."""

    def draw(axes: "Axes") -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for colour, curve in zip(COLOURS, curves, strict=False):
            axes.plot(curve.x, curve.y, "o-", color=colour, linewidth=1.8, markersize=3.5)
        axes.set_xticks(curves[0].x, [f"{x:.0f}" for x in curves[0].x])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1000 else count(value))
        for side in (axes.xaxis, axes.yaxis):
            side.minorticks_off()

    return draw
