"""The page of a study of how much data it takes, and the same table for a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, DASHES, MUTED, Draw, Line, lines
from marm.report.run import figure_card
from marm.report.text import count, figure, many, whole
from marm.study.data import WARM, Curve, Met
from marm.study.tables import Cells, gap_text, markdown, origin

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_page(out: Path, found: Met) -> Path:
    """Write ``report.html``."""
    main, curves = next(iter(found.curves.items()))
    tiles = [(f"{one.name}, {main} GAUC, last window", figure(one.gauc[-1])) for one in curves]
    tiles += [(f"{one.name} meets warm after", _met(found, one)) for one in _others(curves)]
    seeds = sum(one.name == WARM for one in found.trained)
    subtitle = f"Three models, {many(seeds, 'seed')}, one stream, from event {whole(found.bounds[0])} on in windows"
    parts = [page.tiles(tiles)]
    for task, ones in found.curves.items():
        parts.append(
            page.section(
                f"Task {task}", [*_charts(found, task, ones), page.table("Windows", _HOW, *figures_of(found, ones))]
            )
        )
    parts.append(
        page.section(
            "How",
            [
                page.pairs(
                    "Protocol", [("Cold start", f"event {whole(found.bounds[0])}"), *origin(found.trained[0].result)]
                )
            ],
        )
    )
    return page.save(out / "report.html", page.page("Is data the limit?", subtitle, parts))


_HOW = (
    "Warm learned from every event since the first, the second from a share of them, cold began where the windows do, weights "
    "and memory empty. All are scored on the same events. A curve meets the warm one where it is not clearly below it any more."
)


def table(found: Met) -> str:
    """Markdown, the main task."""
    curves = next(iter(found.curves.values()))
    met = "; ".join(f"{one.name} meets {WARM} after {_met(found, one)} events" for one in _others(curves))
    return f"{markdown(figures_of(found, curves))}\n{met}\n"


def figures_of(found: Met, curves: Sequence[Curve]) -> Cells:
    """A row for each window."""
    head = [
        "events",
        *(f"GAUC, {one.name}" for one in curves),
        *(f"{one.name} above {WARM} (95 %)" for one in _others(curves)),
    ]
    rows = [
        [
            f"{whole(found.bounds[at])} to {whole(found.bounds[at + 1])}",
            *(figure(one.gauc[at]) for one in curves),
            *(gap_text(one.above_warm[at]) for one in _others(curves)),
        ]
        for at in range(len(found.bounds) - 1)
    ]
    return head, rows


def _others(curves: Sequence[Curve]) -> list[Curve]:
    return [one for one in curves if one.name != WARM]


def _met(found: Met, one: Curve) -> str:
    at = one.meets()
    return "not within the log" if at is None else whole(found.bounds[at] - found.bounds[0])


def _charts(found: Met, task: str, curves: Sequence[Curve]) -> list[str]:
    x = np.array(found.bounds[1:], float)
    over = [Line(one.name, x, np.array(one.gauc)) for one in curves]
    names = [one.name for one in curves]
    cards = [figure_card(f"GAUC by window, {task}", "Mean over seeds.", lines(over, (0, 1)), names, wide=True)]
    for one in _others(curves):
        cards.append(
            figure_card(
                f"{one.name} above {WARM}, {task}",
                "The band holds 95 % of what users drawn with replacement give and seeds spread by (one seed: users alone).",
                _gaps(x, one),
                [],
            )
        )
    return [page.chart(card) for card in cards]


def _gaps(x: np.ndarray, one: Curve) -> Draw:
    def draw(axes: "Axes") -> None:
        axes.axhline(0, color=MUTED, linewidth=1.2, linestyle=DASHES)
        low, high = ([getattr(gap, name) for gap in one.above_warm] for name in ("low", "high"))
        axes.fill_between(x, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.plot(x, [gap.value for gap in one.above_warm], color=COLOURS[0], linewidth=1.8)
        axes.xaxis.set_major_formatter(lambda value, _: count(value))

    return draw
