"""The page of a study of missing states, and the same table for a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, DASHES, MUTED, Draw
from marm.report.run import figure_card
from marm.report.text import figure, share
from marm.study.misses import Missed
from marm.study.source import Protocol
from marm.study.tables import BARS, Cells, gap_text, markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_page(out: Path, found: Sequence[Missed], how: Protocol) -> Path:
    """Write ``report.html``."""
    tasks = list(found[0].aucs)
    whole, none = found[0], min(found, key=lambda one: one.hit_rate)
    tiles = [
        (f"GAUC, {tasks[0]}, whole memory", figure(whole.aucs[tasks[0]].gauc)),
        ("States found", share(whole.hit_rate)),
        (f"GAUC with {none.share:.0%} of users forgotten", figure(none.aucs[tasks[0]].gauc)),
        ("States found", share(none.hit_rate)),
    ]
    note = f"{BARS}; the dashed line is the whole memory."
    cards = [
        page.chart(
            figure_card(f"GAUC by the share of states found, {task}", note, by_hit_rate(found, task), [], wide=True)
        )
        for task in tasks
    ]
    parts = [
        page.tiles(tiles),
        page.section("Quality", cards),
        page.section("Figures", [page.table(f"Figures, {task}", _HOW, *figures_of(found, task), 0) for task in tasks]),
        page.section("How", [page.pairs("Protocol", how)]),
    ]
    return page.save(
        out / "report.html",
        page.page("What missing states cost", "One stream, replayed with each seed; last fifth of the events", parts),
    )


_HOW = (
    "States of a share of the users are dropped before the last fifth, which is then learned from: states found recover as "
    "users come back. A row without a state reads by a learned fall-back."
)


def table(found: Sequence[Missed]) -> str:
    """Markdown, the main task."""
    return markdown(figures_of(found, next(iter(found[0].aucs))))


def figures_of(found: Sequence[Missed], task: str) -> Cells:
    """A row for each share of users."""
    head = ["users without states", "states found", f"{task} GAUC", "above the whole memory (95 %)"]
    rows = [
        [f"{one.share:.0%}", share(one.hit_rate), figure(one.aucs[task].gauc), gap_text(one.below[task])]
        for one in found
    ]
    return head, rows


def by_hit_rate(found: Sequence[Missed], task: str) -> Draw:
    """Difference to the whole memory, and its interval, over the share of states found."""
    x = np.array([100 * one.hit_rate for one in found])
    gaps = [one.below[task] for one in found]

    def draw(axes: "Axes") -> None:
        axes.axhline(0, color=MUTED, linewidth=1.2, linestyle=DASHES)
        axes.vlines(x, [gap.low for gap in gaps], [gap.high for gap in gaps], color=COLOURS[0], linewidth=2.2)
        axes.plot(x, [gap.value for gap in gaps], "o-", color=COLOURS[0], linewidth=1.2, markersize=5)
        axes.set_xlabel("states found, %", color=MUTED)

    return draw
