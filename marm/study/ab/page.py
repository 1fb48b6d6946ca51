"""The page of an A/B test: one self-contained file, and the same table for a terminal."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marm.report import page
from marm.report.figures import COLOURS, MUTED
from marm.report.run import figure_card
from marm.report.style import SERIES
from marm.report.text import ABSENT, figure, whole
from marm.study.ab.effect import MEASURES
from marm.study.ab.study import Test, Tested
from marm.study.interval import Difference
from marm.study.tables import intervals, spread
from marm.types import F64

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEAD = ("play_time", "returned", "interactions")
"""Measures that are drawn."""


def write_page(out: Path, test: Test) -> Path:
    """Write ``report.html``."""
    first = test.arms[0]
    users = sum(one.users for one in test.arms)
    people = f"{first.users:,} simulated users in every arm" if test.paired else f"{users:,} simulated users"
    slates = sum(one.figures["slates_in_all"] for arm in test.arms for one in arm.seeds)
    seeds = f"{test.seeds} seeds of every model, " if test.seeds > 1 else ""
    subtitle = f"{people}, {test.span.days:g} {_days(test.span.days)}, {seeds}{slates:,} slates; every arm against {first.name}"
    parts = [
        page.tiles(_tiles(test)),
        page.section("Difference", [_forest(test, name) for name in _HEAD]),
        page.section("Over time", [_curve(test, *drawn) for drawn in _CURVES]),
        page.section("Figures", [_effects(test), _means(test), _costs(test)]),
        page.section("How", [page.pairs("Protocol", _protocol(test))]),
    ]
    return page.save(out / "report.html", page.page("A/B test in a simulated app", subtitle, parts))


def table(test: Test) -> str:
    """Markdown: each arm's play time, retention and interactions, and how far they are above the first arm's."""
    head = ["arm", "users", "play time, s", *(f"{MEASURES[name]} above {test.arms[0].name}" for name in _HEAD)]
    rows = []
    for one in test.arms:
        told = [_told(test.effects[one.name][name]) if one.name in test.effects else "" for name in _HEAD]
        rows.append([one.name, whole(one.users), whole(one.mean("play_time")), *told])
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _days(days: float) -> str:
    return "day" if days == 1 else "days"


def _told(found: Difference) -> str:
    if not math.isfinite(found.value):
        return ABSENT
    return f"{found.value:+.1%} ({found.low:+.1%} to {found.high:+.1%})"


def _tiles(test: Test) -> list[tuple[str, str]]:
    if len(test.arms) > 4:
        best = max(test.effects, key=lambda name: test.effects[name]["play_time"].value)
        clear = sum(one["play_time"].clear for one in test.effects.values())
        return [
            (f"Best: {best}, play time", f"{test.effects[best]['play_time'].value:+.1%}"),
            ("Clearly apart in play time", f"{clear} of {len(test.effects)}"),
        ]
    return [(f"Play time a user, {name}", f"{one['play_time'].value:+.1%}") for name, one in test.effects.items()]


def _forest(test: Test, measure: str) -> str:
    names = list(test.effects)
    note = f"Mean over users above {test.arms[0].name}, in per cent; bars hold 95 % of {_sure(test)}."
    draw = intervals(names, [test.effects[name][measure] for name in names], "%")
    return page.chart(figure_card(MEASURES[measure].capitalize(), note, draw, [], wide=measure == "play_time"))


def _so_far(one: Tested) -> F64:
    return np.asarray(one.hourly("play_time").cumsum() / 60.0 / one.users)


def _each(one: Tested) -> F64:
    slates = one.hourly("slates")
    return np.asarray(np.divide(one.hourly("play_time"), slates, out=np.full(len(slates), np.nan), where=slates > 0))


def _here(one: Tested) -> F64:
    return np.asarray(100.0 * one.hourly("active") / one.users)


_CURVES: list[tuple[str, str, Callable[[Tested], F64]]] = [
    ("Play time a user so far", "Minutes since the test began.", _so_far),
    ("Play time a slate", "Seconds, by the hour.", _each),
    ("Users who are there", "Per cent of an arm's users, by the hour.", _here),
]


def _curve(test: Test, title: str, note: str, value: Callable[[Tested], F64]) -> str:
    def draw(axes: "Axes") -> None:
        for i, one in enumerate(test.arms):
            style = "-" if i < SERIES else "--"
            axes.plot(one.hourly("hour") + 1, value(one), style, color=COLOURS[i % SERIES], linewidth=1.8)
        axes.set_xlabel("hours", color=MUTED)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)

    legend = [one.name for one in test.arms]
    return page.chart(figure_card(title, note, draw, legend, wide=value is _so_far))


def _effects(test: Test) -> str:
    rows = [[name, *(_told(one[measure]) for measure in MEASURES)] for name, one in test.effects.items()]
    note = f"Mean over users above {test.arms[0].name}, and what holds 95 % of {_sure(test)}."
    return page.table("Differences", note, ["arm", *MEASURES.values()], rows)


def _means(test: Test) -> str:
    head = ["arm", "users", *MEASURES.values(), "play time before"]
    rows = [
        [one.name, whole(one.users), *(figure(one.mean(name)) for name in (*MEASURES, "play_time_before"))]
        for one in test.arms
    ]
    note = "Of one user in the whole test, as they were: play time in seconds; retention: who came in the last quarter."
    return page.table("Means over users", note, head, rows)


def _costs(test: Test) -> str:
    head = ["arm", "events before", "slates", "slates/s", "seconds of training before", "seconds of the test"]
    head += ["click GAUC", "long view GAUC"]
    rows = []
    for one in test.arms:
        counts = [
            whole(one.figure(name))
            for name in ("events_before", "slates_in_all", "slates_per_s", "seconds_training", "seconds_test")
        ]
        rows.append([one.name, *counts, *(spread(_gaucs(one, task)) for task in ("click", "long_view"))])
    note = (
        "Slates/s: answered, watched and learned from, end to end. GAUC: of ranking on the slates that its own arm showed, "
        "so that of two arms it is of different items."
    )
    return page.table("Work", note, head, rows)


def _gaucs(one: Tested, task: str) -> list[float]:
    found = [(seed.figures["gauc"] or {}).get(task) for seed in one.seeds]
    return [gauc for gauc in found if gauc is not None]


def _sure(test: Test) -> str:
    if test.seeds > 1:
        return f"what users drawn with replacement give, and what {test.seeds} seeds of a model spread by"
    return "what users drawn with replacement give; how much another seed of a model would change is not in it"


def _protocol(test: Test) -> list[tuple[str, str]]:
    span, first = test.span, test.arms[0].seeds[0].figures
    users = "every arm has all users, each arm in a world of its own" if test.paired else "dealt to the arms by a hash"
    luck = "drawn for each user and slate from their numbers alone, so that a user is as lucky in every arm; " + (
        "differences are of the same user in two arms"
        if test.paired
        else "it makes no pairs here, since no user is in two arms"
    )
    return [
        ("Users", users),
        (
            "Before the test",
            f"{span.before:g} {_days(span.before)} of the app's own feed; models are first trained on their own users' share",
        ),
        ("Learning", "each arm from its own users' slates alone, after every tick"),
        ("Tick", f"{span.tick:g} seconds: who comes in it is served in one batch"),
        (
            "Slate",
            f"{span.slate} items, of which {span.strangers} drawn from all that are there, the same in every arm",
        ),
        ("Luck", luck),
        ("Taken out", "what each user had played before the test, by regression (CUPED)"),
        ("Seeds", f"{test.seeds} of every model, from {test.seed} on; the same arm again has those after them"),
        ("Commit", str(first["commit"])[:10]),
        ("Machine", f"{first['machine']['cpu']}, {first['machine']['cores']} cores"),
    ]
