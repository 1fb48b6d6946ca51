"""Studies of variants: the run as it is set, and beside it the same with other settings, all trained with the same seeds.

A study of this kind is a ``Design``: which settings are laid over the run, what is measured beside quality and cost, and
what its page says. `marm study ablate | segments | codecs`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marm.config import RunConfig
from marm.errors import SettingError
from marm.study.compare import Compared, binary_tasks, compare, seeded
from marm.study.models import Sections, laid_over
from marm.study.runs import Show, Training, own_memory, train_all, write_lines

Figures = dict[str, float | str]
"""What a study measures of a variant beside quality and cost, by column."""


@dataclass(frozen=True)
class Design:
    """One study of variants."""

    title: str
    base: str
    """The variant that all are compared with."""
    variants: Mapping[str, Sections]
    """Settings laid over the run, by name; the base is among them."""
    notes: str
    """What the page says of the columns that ``measure`` adds."""
    measure: Callable[[Compared, Path, Show], Figures] = lambda *_: {}
    """What else is told of a variant, its trainings and the study's folder given."""
    show: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """How each of these is told, by its column."""


@dataclass(frozen=True)
class Varied:
    """What came of it."""

    design: Design
    tasks: list[str]
    models: list[Compared]
    measured: dict[str, Figures]
    left_out: dict[str, str]
    """Variants that this run cannot be, and why."""


def study_variants(run: RunConfig, out: Path, show: Show, design: Design, seeds: int = 3) -> Varied:
    """Train each variant with every seed and compare; goes on where it was broken off.

    Leaves a folder for each training, ``trainings.jsonl`` and ``models.jsonl`` in ``out``.
    """
    run = own_memory(run)
    tasks, (runs, left_out) = binary_tasks(run), _runs(run, design)
    trainings = [Training(name, seeded(one, run.train.seed + s)) for s in range(seeds) for name, one in runs.items()]
    trained = list(train_all(trainings, out, show))
    write_lines(out / "trainings.jsonl", (one.line() for one in trained))
    models = compare(trained, tasks, design.base, runs[design.base].memory.window)
    measured = {model.name: design.measure(model, out, show) for model in models}
    write_lines(out / "models.jsonl", ({**model.line(), **measured[model.name]} for model in models))
    return Varied(design, tasks, models, measured, left_out)


def _runs(run: RunConfig, design: Design) -> tuple[dict[str, RunConfig], dict[str, str]]:
    """The run of each variant, the base first, and why the others are none; those equal to an earlier one are left out."""
    runs, refused = {design.base: laid_over(run, design.variants[design.base])}, {}
    for name, sections in design.variants.items():
        try:
            one = laid_over(run, sections)
        except SettingError as error:
            refused[name] = str(error)
            continue
        if one not in runs.values():
            runs[name] = one
    return runs, refused


def chosen_of(variants: Mapping[str, Sections], only: str | None, base: str) -> dict[str, Sections]:
    """The variants named, commas between, and the base; all where none are. Errors: ``SettingError`` for another name."""
    wanted: Sequence[str] = [name.strip() for name in only.split(",")] if only else list(variants)
    for name in wanted:
        if name not in variants:
            raise SettingError(f"--only {name}: no such variant here; there are {', '.join(variants)}")
    return {name: sections for name, sections in variants.items() if name in wanted or name == base}
