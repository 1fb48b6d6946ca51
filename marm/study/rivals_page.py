"""The page of a study of rivals: one self-contained file, and the same table for a terminal."""

from pathlib import Path

import numpy as np

from marm.report import page
from marm.report.text import many
from marm.study.rivals import TUNED_ON, Study
from marm.study.tables import COSTS, beside, costs, figures, headline, markdown, origin, quality

BASE = "marm"


def write_page(out: Path, study: Study) -> Path:
    """Write ``report.html``."""
    tasks, models = list(study.models[0].aucs), study.models
    marm = next(model for model in models if model.name == BASE)
    parts = [
        page.tiles(headline(models, tasks[0], BASE)),
        page.section("Quality", figures(models, tasks, BASE)),
        page.section("Cost", [_cost(study)]),
        page.section("How", [page.pairs("Protocol", _protocol(study)), _points(study)]),
    ]
    subtitle = f"{len(models)} models, {many(len(marm.trained), 'seed')}, one log, last fifth of the events"
    return page.save(out / "report.html", page.page("MARM and its rivals", subtitle, parts))


def table(study: Study) -> str:
    """Markdown: every model's figures, best GAUC of the main task first."""
    first = quality(study.models, next(iter(study.models[0].aucs)), BASE)
    made = markdown(beside(first, COSTS, {model.name: costs(model) for model in study.models}))
    return made + "".join(f"\n{name}: {says}\n" for name, says in _alike(study))


def _cost(study: Study) -> str:
    note = (
        "Events/s: training, end to end, the median of the seeds. FLOPs: products of matrices, forward, for an event of a user "
        "of its own. Milliseconds: one request of 500 candidates for the user with the most events, from a finished run. "
        "States: what is remembered."
    )
    return page.table("Cost", note, ["model", *COSTS], [[model.name, *costs(model)] for model in study.models])


def _points(study: Study) -> str:
    rows = [[model.name, ", ".join(model.point) or "as set"] for model in study.models]
    return page.table("Chosen settings", "The best place on the grid, for each model.", ["model", "setting"], rows, 2)


def _protocol(study: Study) -> list[tuple[str, str]]:
    places = len(study.places)
    tuned = f"the first {TUNED_ON:.0%} of the log, {places} places on the grid for each model"
    return [
        ("Tuned on", tuned if places > 1 else "nothing: every model takes the settings as they are"),
        ("Measured on", "the last fifth of the whole log, predict then learn"),
        *_alike(study),
        *origin(study.models[0].trained[0].result),
    ]


def _alike(study: Study) -> list[tuple[str, str]]:
    """Models that ranked all as MARM did, so that nobody takes one for as good as the other."""
    own = next(model for model in study.models if model.name == BASE)
    return [
        (model.name, f"ranks every event just as {BASE} does: on this log there is nothing that sets them apart")
        for model in study.models
        if model is not own and all(np.array_equal(model.aucs[task].aucs, own.aucs[task].aucs) for task in own.aucs)
    ]
