"""The page of a scaling study, and the same table for a terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, Draw
from marm.report.run import figure_card
from marm.report.text import count, figure, size
from marm.study.law import LETTERS
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
        ("Layers, rows, width" + (", picked" if found.searches else ""), ", ".join(_sizes(found, best))),
        ("Exponent c", f"{found.fit.law.c:.2f}"),
        ("Error where held out", f"{found.fit.held_out:.4f}"),
    ]
    text = page.page(
        "What memory buys",
        f"GAUC of {found.task}, last fifth of the events, {len(found.places)} places, seeds {_seeds(found)}",
        [
            page.tiles(tiles),
            page.section("The law", [_law_chart(found), page.pairs(_formula(found), _told(found))]),
            page.section("Cost", [_scatter(found, name, value) for name, value in AGAINST]),
            page.section("Figures", [page.table("Places", "", *figures_of(found))]),
        ],
    )
    return page.save(out / "report.html", text)


def figures_of(found: Scaling) -> tuple[list[str], list[list[str]]]:
    """Head and cells, the smallest first."""
    head = ["L", "n", "d", *(["K"] if found.searches else [])]
    head += ["C = L n d", "GAUC", "law", "states a user", "FLOPs an event", "ms for 500"]
    rows = []
    for place in sorted(found.places, key=lambda place: (place.size.numbers, place.size)):
        law = float(found.fit.law.at(np.array([float(place.size.numbers)]), float(place.size.picked))[0])
        cells = [*_sizes(found, place), count(place.size.numbers), figure(place.gauc)]
        rows.append([*cells, figure(law), size(place.bytes), count(place.flops), f"{place.milliseconds:.1f}"])
    return head, rows


def _sizes(found: Scaling, place: Place) -> list[str]:
    return [str(value) for value in place.size[: 4 if found.searches else 3]]


def _formula(found: Scaling) -> str:
    return "GAUC = a + b C^c" + (" + e ln(1 + K)" if found.searches else "")


def table(found: Scaling) -> str:
    """Markdown of the figures, and the law in a line."""
    head, rows = figures_of(found)
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---:"] * len(head), *rows]]
    told = "; ".join(f"{name}: {value}" for name, value in _told(found))
    return "\n".join(lines) + f"\n\n{_formula(found)}. {told}\n"


def _told(found: Scaling) -> list[tuple[str, str]]:
    pairs = [
        (name, f"{getattr(found.fit.law, name):.4f} ({low:.4f} to {high:.4f})")
        for name in LETTERS
        if name != "e" or found.searches
        for low, high in [found.fit.interval(name)]
    ]
    return [
        *pairs,
        ("error where held out", f"{found.fit.held_out:.4f}"),
        ("error of the mean alone", f"{found.fit.spread:.4f}"),
    ]


def _seeds(found: Scaling) -> str:
    return ", ".join(str(one.result["seed"]) for one in found.places[0].trained)


def _legend(found: Scaling) -> list[str]:
    return [f"L = {depth}" for depth in sorted({place.size.layers for place in found.places})]


def _law_chart(found: Scaling) -> str:
    note = "Each point is a place of the grid; the band holds 95 % of the laws of places drawn with replacement."
    if found.searches:
        note += f" The curve is of K = {found.picked().min():.0f}."
    return page.chart(figure_card("GAUC against C = L n d", note, law_curve(found), _legend(found), wide=True))


def law_curve(found: Scaling) -> Draw:
    """Points by layers, the law and its band, x logarithmic."""

    def draw(axes: "Axes") -> None:
        x, y = found.x(), found.y()
        at, picked = np.geomspace(x.min(), x.max(), 60), float(found.picked().min())
        axes.fill_between(at, *found.fit.band(at, picked), color=COLOURS[5], alpha=0.25, linewidth=0)
        axes.plot(at, found.fit.law.at(at, picked), color=COLOURS[5], linewidth=1.6)
        _points(axes, found, x, y)

    return draw


def _points(axes: "Axes", found: Scaling, x: np.ndarray, y: np.ndarray) -> None:
    from matplotlib.ticker import LogLocator

    depths = sorted({place.size.layers for place in found.places})
    for i, depth in enumerate(depths):
        own = np.array([place.size.layers == depth for place in found.places])
        axes.plot(x[own], y[own], "o", color=COLOURS[i % len(COLOURS)], markersize=5)
    if (x > 0).all():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: count(value))


def _scatter(found: Scaling, name: str, value: Callable[[Place], float]) -> str:
    x = np.array([float(value(place)) for place in found.places])

    def draw(axes: "Axes") -> None:
        _points(axes, found, x, found.y())

    return page.chart(figure_card(f"GAUC against {name}", "", draw, _legend(found)))
