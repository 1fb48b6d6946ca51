"""The page of a scaling study, and the same table for a terminal."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, Draw
from marm.report.run import figure_card
from marm.report.text import count, figure, size
from marm.study.law import Places
from marm.study.scaling import Place, Scaling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AGAINST: list[tuple[str, Callable[[Place], float]]] = [
    ("bytes of states a user", lambda place: place.bytes),
    ("FLOPs an event", lambda place: place.flops),
    ("ms for 500 candidates", lambda place: place.milliseconds),
]


def write_page(out: Path, found: Scaling) -> Path:
    """Write ``report.html``."""
    best = max(found.places, key=lambda place: place.gauc)
    tiles = [
        (f"Best GAUC, {found.task}", figure(best.gauc)),
        ("Layers, rows, width" + (", picked" if found.at.searches else ""), ", ".join(_sizes(found, best))),
        ("Exponent c", f"{found.fit.law.c:.2f}"),
        ("Error where held out", f"{found.fit.held_out:.4f}"),
    ]
    text = page.page(
        "What memory buys",
        f"GAUC of {found.task}, last fifth of the events, {len(found.places)} places, seeds {_seeds(found)}",
        [
            page.tiles(tiles),
            page.section("The law", [_law_chart(found), page.pairs(found.fit.formula, _told(found))]),
            page.section("Cost", [_scatter(found, name, value) for name, value in AGAINST]),
            page.section("Figures", [page.table("Places", "", *figures_of(found))]),
        ],
    )
    return page.save(out / "report.html", text)


def figures_of(found: Scaling) -> tuple[list[str], list[list[str]]]:
    """Head and cells, the smallest first."""
    head = ["L", "n", "d", *(["K"] if found.at.searches else [])]
    head += ["C = L n d", "GAUC", "law", "states a user", "FLOPs an event", "ms for 500"]
    rows = []
    foretold = zip(found.places, found.fit.law.at(found.at), strict=True)
    for place, law in sorted(foretold, key=lambda one: (one[0].size.numbers, one[0].size)):
        cells = [*_sizes(found, place), count(place.size.numbers), figure(place.gauc)]
        rows.append([*cells, figure(float(law)), size(place.bytes), count(place.flops), f"{place.milliseconds:.1f}"])
    return head, rows


def _sizes(found: Scaling, place: Place) -> list[str]:
    return [str(value) for value in place.size[: 4 if found.at.searches else 3]]


def table(found: Scaling) -> str:
    """Markdown of the figures, and the law in a line."""
    head, rows = figures_of(found)
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---:"] * len(head), *rows]]
    told = "; ".join(f"{name}: {value}" for name, value in _told(found))
    return "\n".join(lines) + f"\n\n{found.fit.formula}. {told}\n"


def _told(found: Scaling) -> list[tuple[str, str]]:
    fit = found.fit
    pairs: list[tuple[str, str]] = [
        (name, _between(getattr(fit.law, name), *fit.interval(name))) for name in fit.letters
    ]
    if found.at.depths:
        most = int(found.at.layers.max())
        at_equal = [value * math.log(most) for value in (fit.law.f, *fit.interval("f"))]
        pairs.append((f"{most} layers of n rows less one of {most} n", _between(*at_equal)))
    return [
        *pairs,
        ("error of a place by the law of the others", f"{fit.held_out:.4f}"),
        ("error by their mean", f"{fit.spread:.4f}"),
    ]


def _between(value: float, low: float, high: float) -> str:
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _seeds(found: Scaling) -> str:
    return ", ".join(str(one.result["seed"]) for one in found.places[0].trained)


def _legend(found: Scaling) -> list[str]:
    return [f"L = {depth}" for _, depth, _ in _by_depth(found)]


def _law_chart(found: Scaling) -> str:
    note = "Each point is a place of the grid; a band holds 95 % of the laws of places drawn with replacement."
    if found.at.searches:
        note += f" Curves are of K = {found.at.picked.min():.0f}."
    return page.chart(figure_card("GAUC against C = L n d", note, law_curve(found), _legend(found), wide=True))


def law_curve(found: Scaling) -> Draw:
    """Points by layers, each depth's law and its band, x logarithmic."""

    def draw(axes: "Axes") -> None:
        for colour, depth, own in _by_depth(found):
            x = np.geomspace(found.at.numbers[own].min(), found.at.numbers[own].max(), 60)
            at = Places(x, np.full_like(x, depth), np.full_like(x, found.at.picked.min()))
            axes.fill_between(x, *found.fit.band(at), color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, found.fit.law.at(at), color=colour, linewidth=1.6)
        _points(axes, found, found.at.numbers)

    return draw


def _by_depth(found: Scaling) -> list[tuple[str, int, np.ndarray]]:
    """Each depth's colour, the depth, and which places have it."""
    depths = sorted({place.size.layers for place in found.places})
    return [(COLOURS[i % len(COLOURS)], depth, found.at.layers == depth) for i, depth in enumerate(depths)]


def _points(axes: "Axes", found: Scaling, x: np.ndarray) -> None:
    from matplotlib.ticker import LogLocator

    for colour, _, own in _by_depth(found):
        axes.plot(x[own], found.gauc[own], "o", color=colour, markersize=5)
    if (x > 0).all():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: count(value))


def _scatter(found: Scaling, name: str, value: Callable[[Place], float]) -> str:
    x = np.array([float(value(place)) for place in found.places])

    def draw(axes: "Axes") -> None:
        _points(axes, found, x)

    return page.chart(figure_card(f"GAUC against {name}", "", draw, _legend(found)))
