"""The page of a study of variants, and the same table for a terminal."""

from pathlib import Path

from marm.report import page
from marm.report.text import many
from marm.study.tables import COSTS, Cells, beside, costs, figures, headline, markdown, origin, quality
from marm.study.variants import Varied


def write_page(out: Path, found: Varied) -> Path:
    """Write ``report.html``."""
    design, models, tasks = found.design, found.models, found.tasks
    cost = f"{design.notes} Events/s: training, end to end, median of the seeds. Milliseconds: one request of 500 candidates."
    parts = [
        page.tiles(headline(models, tasks[0], design.base)),
        page.section("Quality", figures(models, tasks, design.base)),
        page.section("Measured", [page.table("What it takes", cost, *_measured(found))]),
        page.section(
            "How", [page.pairs("Protocol", _protocol(found)), page.pairs("Left out", [*found.left_out.items()])]
        ),
    ]
    subtitle = f"{len(models)} variants, {many(len(models[0].trained), 'seed')}, one log, last fifth of the events"
    return page.save(out / "report.html", page.page(design.title, subtitle, parts))


def table(found: Varied) -> str:
    """Markdown: every variant's figures, best GAUC of the main task first."""
    head, rows = _measured(found)
    first = quality(found.models, found.tasks[0], found.design.base)
    return markdown(beside(first, head[1:], {row[0]: row[1:] for row in rows}))


def _measured(found: Varied) -> Cells:
    show = found.design.show
    rows = [
        [model.name, *(tell(found.measured[model.name][name]) for name, tell in show.items()), *costs(model)]
        for model in found.models
    ]
    return ["model", *show, *COSTS], rows


def _protocol(found: Varied) -> list[tuple[str, str]]:
    return [
        ("Compared with", f"{found.design.base}, on the same events and seeds"),
        ("Measured on", "the last fifth of the whole log, predict then learn"),
        *origin(found.models[0].trained[0].result),
    ]
