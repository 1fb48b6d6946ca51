"""Figures as inline SVG, in the colours of the page and with its fonts, so that they follow light and dark."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from marm.report.style import SERIES
from marm.report.text import count, size
from marm.types import F64

if TYPE_CHECKING:
    # Loaded where a figure is drawn: it takes long, and most processes draw none.
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

LARGE, WIDE, SMALL = (520, 230), (1100, 290), (330, 215)
"""Width and height in pixels on the page."""

# The colours drawn with stand for names of the style sheet, put in afterwards.
MUTED, GRID, LINE = "#010203", "#040506", "#070809"
NAMES = {MUTED: "muted", GRID: "grid", LINE: "line"} | {f"#0a0b{i:02x}": f"s{i}" for i in range(SERIES)}
COLOURS = [code for code, name in NAMES.items() if name.startswith("s")]

DASHES = (0, (4, 3))

COUNTED = ("n", "B")

Draw = Callable[["Axes"], None]


@dataclass(frozen=True)
class Line:
    """A curve, and the same before smoothing where that is to be seen behind it."""

    name: str
    x: F64
    y: F64
    raw: F64 | None = None


def render(title: str, draw: Draw, pixels: tuple[int, int]) -> str:
    """One SVG element, ready to stand in a page; ``title`` is read aloud in its place."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    sheet: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": f"{title}{pixels}", "font.size": 11}
    with rc_context(sheet):
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02)
        figure = Figure(figsize=(pixels[0] / 72, pixels[1] / 72), layout=layout)
        axes = figure.add_subplot()
        _bare(axes)
        draw(axes)
        out = StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    return _inline(out.getvalue(), title, f"{_slug(title)}{pixels[0]}-")


def ticks(most: int) -> "Locator":
    """At most so many labels on an axis."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most)


def lines(
    curves: Sequence[Line], within: tuple[float, float] = (-math.inf, math.inf), unit: str = "", mark: float = math.nan
) -> Draw:
    """Curves over events, the y axis within (low, high), with a dashed line at ``mark``.

    Units: "" as it is, "%" shares of one; "n" counts in thousands and millions and "B" bytes, both from zero up.
    """

    def draw(axes: "Axes") -> None:
        for i, curve in enumerate(curves):
            colour = COLOURS[i % SERIES]
            if curve.raw is not None:
                axes.plot(curve.x, curve.raw, color=colour, linewidth=0.9, alpha=0.28)
            style = "-" if i < SERIES else "--"
            marker = "o" if np.isfinite(curve.y).sum() == 1 else None
            axes.plot(curve.x, curve.y, style, color=colour, linewidth=1.8, marker=marker, markersize=4, clip_on=False)
        if math.isfinite(mark):
            axes.axhline(mark, color=MUTED, linewidth=1.2, linestyle=DASHES)
        axes.xaxis.set_major_formatter(lambda value, _: count(value))
        axes.xaxis.set_major_locator(ticks(5 if axes.bbox.width < 400 else 8))
        axes.margins(x=0.01)
        low, high = axes.get_ylim()
        axes.set_ylim(0 if unit in COUNTED else max(low, within[0]), min(high, within[1]))
        _numbers(axes, unit)

    return draw


def bars(heights: F64, first: int = 1) -> Draw:
    """Shares of 1 as bars, at ``first``, ``first + 1`` and so on."""

    def draw(axes: "Axes") -> None:
        axes.bar(np.arange(len(heights)) + first, heights, width=0.72, color=COLOURS[0])
        axes.set_xlim(first - 0.6, first + len(heights) - 0.4)
        axes.set_xticks(np.arange(first, first + len(heights), -(-len(heights) // 8)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")

    return draw


def diagonal(curves: Sequence[Line]) -> Draw:
    """Observed over predicted; on the dashed diagonal a promise is kept."""

    def draw(axes: "Axes") -> None:
        top = max((float(np.nanmax([curve.x, curve.y])) for curve in curves), default=1.0) * 1.04 or 1.0
        axes.plot([0, top], [0, top], color=MUTED, linewidth=1.2, linestyle=DASHES)
        for i, curve in enumerate(curves):
            axes.plot(curve.x, curve.y, "o-", color=COLOURS[i % SERIES], linewidth=1.4, markersize=3.5)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted", ylabel="observed")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(ticks(5))
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.label.set_color(MUTED)

    return draw


def thin(x: F64, y: F64, points: int = 300) -> tuple[F64, F64]:
    """Means over equal stretches, at most ``points`` of them; NaN only where a stretch holds nothing else."""
    step = -(-len(x) // points) if len(x) else 1
    if step == 1:
        return x, y
    begin = np.arange(0, len(y), step)
    known = np.isfinite(y)
    counts = np.add.reduceat(known.astype(np.float64), begin)
    sums = np.add.reduceat(np.where(known, y, 0.0), begin)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)
    return x[np.minimum(begin + step, len(x)) - 1], means


def smooth(y: F64, width: int) -> F64:
    """Centred moving mean over ``width`` values, NaN left out, shorter at the ends."""
    known = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, y, 0.0))])
    counts = np.concatenate([[0.0], np.cumsum(known)])
    at = np.arange(len(y))
    low, high = np.maximum(at - width // 2, 0), np.minimum(at + (width - 1) // 2 + 1, len(y))
    here = counts[high] - counts[low]
    return np.where(here > 0, (sums[high] - sums[low]) / np.maximum(here, 1), math.nan)


def _bare(axes: "Axes") -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, pad=5, labelsize=11)
    axes.yaxis.set_major_locator(ticks(5))


def _numbers(axes: "Axes", unit: str) -> None:
    from matplotlib.ticker import MultipleLocator

    if unit == "B":
        high = max(axes.get_ylim()[1], 1.0)
        axes.yaxis.set_major_locator(MultipleLocator(2.0 ** max(0, math.floor(math.log2(high)) - 1)))
        axes.yaxis.set_major_formatter(lambda value, _: size(value))
    elif unit == "%":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    elif unit:
        axes.yaxis.set_major_formatter(lambda value, _: count(value))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower())


def _inline(svg: str, title: str, prefix: str) -> str:
    """The figure without its XML frame, with ids of its own and the style sheet's colours."""
    found = re.search(r'viewBox="([^"]+)"', svg)
    assert found, "matplotlib wrote an SVG without a viewBox"
    inner = svg[svg.index(">", svg.index("<svg")) + 1 :]
    inner = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>", "", inner, flags=re.S)
    inner = re.sub(r'\bid="', f'id="{prefix}', inner)
    inner = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}', inner).replace("url(#", f"url(#{prefix}")
    for code, name in NAMES.items():
        inner = inner.replace(code, f"var(--{name})")
    opening = f'<svg viewBox="{found[1]}" role="img" aria-label="{escape(title)}">'
    return opening + re.sub(r"\n\s*", "\n", inner)
