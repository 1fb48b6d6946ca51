"""The page of a study of the age of memory, and the same table for a terminal."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from marm.report import page
from marm.report.figures import Line, lines
from marm.report.run import figure_card
from marm.report.text import figure, whole
from marm.study.age import Aged
from marm.study.source import Protocol
from marm.study.tables import Cells, gap_text, markdown


def write_page(out: Path, found: dict[str, list[Aged]], how: Protocol) -> Path:
    """Write ``report.html``."""
    main, ones = next(iter(found.items()))
    tiles = [
        (f"GAUC, {main}, remembered", figure(ones[0].remembered)),
        ("The same, made anew", figure(ones[0].fresh)),
        ("Mean age, steps", whole(ones[0].steps)),
        ("Drift, log odds", f"{ones[0].drift:.2g}"),
    ] if ones else []  # fmt: skip
    parts = [page.tiles(tiles)]
    for task, some in found.items():
        parts.append(
            page.section(f"Task {task}", [*_charts(task, some[1:]), page.table("By age", _HOW, *figures_of(some), 0)])
        )
    parts.append(page.section("How", [page.pairs("Protocol", how)]))
    return page.save(
        out / "report.html",
        page.page("What older states cost", "One stream, replayed with each seed; last fifth of the events", parts),
    )


_HOW = (
    "The last fifth, each event scored twice by the weights that met it: with the rows that were remembered, and with the "
    "same rows made anew. All events that read a state first, then parts of equal size by the mean age of what they read."
)


def table(found: dict[str, list[Aged]]) -> str:
    """Markdown, a table for each task."""
    return "\n".join(f"{task}\n\n{markdown(figures_of(ones))}" for task, ones in found.items())


def figures_of(ones: Sequence[Aged]) -> Cells:
    """A row for each part."""
    head = ["mean age (steps)", "events", "GAUC, remembered", "GAUC, made anew", "difference (95 %)", "drift"]
    rows = [
        [whole(a.steps), whole(a.events), figure(a.remembered), figure(a.fresh), gap_text(a.gap), f"{a.drift:.3f}"]
        for a in ones
    ]
    return head, rows


def _charts(task: str, ones: Sequence[Aged]) -> list[str]:
    if len(ones) < 2:
        return []
    x = np.array([one.steps for one in ones])
    gaucs = [
        Line("remembered", x, np.array([a.remembered for a in ones])),
        Line("made anew", x, np.array([a.fresh for a in ones])),
    ]
    drift = [Line("drift", x, np.array([one.drift for one in ones]))]
    return [
        page.chart(figure_card(title, note, lines(curves), [one.name for one in curves]))
        for title, note, curves in (
            (f"GAUC by age, {task}", "Across: mean age of the rows read, in steps.", gaucs),
            (f"Drift by age, {task}", "Mean change of the log odds when rows are made anew.", drift),
        )
    ]
