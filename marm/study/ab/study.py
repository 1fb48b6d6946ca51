"""`marm ab`: arms one after the other, each with its users; arms that are finished are read."""

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from marm.data.ids import mix_all
from marm.errors import FolderError, SettingError
from marm.files import replacing, write_text
from marm.study.ab.arms import Arm, read_arms
from marm.study.ab.effect import MEASURES, effect
from marm.study.ab.loop import Loop, Span
from marm.study.interval import Difference
from marm.study.runs import Show, write_lines
from marm.train.results import commit, machine
from marm.train.trainer import Progress
from marm.types import F64, I64
from marm.world import World, read_world
from marm.world.outcomes import Intercepts


@dataclass(frozen=True)
class Ran:
    """What one seed of an arm came to."""

    seed: int | None
    """None where the arm has no model."""
    users: pl.DataFrame
    hours: pl.DataFrame
    figures: dict[str, Any]

    def mean(self, measure: str) -> float:
        """Over users."""
        return float(np.mean(self.users[measure].to_numpy()))


@dataclass(frozen=True)
class Tested:
    """A finished arm: each of its seeds with the same users."""

    name: str
    seeds: list[Ran]

    @property
    def users(self) -> int:
        """How many the arm has."""
        return len(self.seeds[0].users)

    @property
    def tables(self) -> list[pl.DataFrame]:
        """Of users, by seed."""
        return [one.users for one in self.seeds]

    def mean(self, measure: str) -> float:
        """Over users and seeds."""
        return float(np.mean([one.mean(measure) for one in self.seeds]))

    def figure(self, name: str) -> float:
        """The mean over seeds of one of the figures."""
        return float(np.mean([one.figures[name] for one in self.seeds]))

    def hourly(self, name: str) -> F64:
        """The mean over seeds, of every hour of the test."""
        return np.asarray(np.mean([one.hours[name].to_numpy() for one in self.seeds], axis=0))


@dataclass(frozen=True)
class Test:
    """What came of all arms."""

    arms: list[Tested]
    effects: dict[str, dict[str, Difference]]
    """By arm and measure, above the first arm."""
    span: Span
    seed: int
    paired: bool

    @property
    def seeds(self) -> int:
        """How many the arms with models have."""
        return max(len(one.seeds) for one in self.arms)


def study_ab(
    world: Path,
    arms: str,
    out: Path,
    show: Show,
    span: Span,
    users: int = 0,
    seed: int = 0,
    paired: bool = False,
    seeds: int = 1,
) -> Test:
    """Test arms on the first ``users`` of a world (0: all), dealt out by a hash; ``paired``: each arm has all of them.

    Arms with models are run ``seeds`` times, from ``seed`` on. Errors: ``SettingError``, ``FolderError``.
    """
    made, base = read_world(world)
    wanted = read_arms(arms, world, seed, seeds)
    shares = _dealt(_checked(made, users, span), len(wanted), seed, paired)
    # Seed by seed, so that a test broken off has whole comparisons.
    runs = [(number, at, one) for at, arm in enumerate(wanted) for number, one in enumerate(arm.seeds(seeds))]
    runs.sort(key=lambda run: run[:2])
    done = {}
    for count, (number, at, arm) in enumerate(runs, 1):
        with show(f"{count}/{len(runs)} {_label(arm)}") as tell:
            done[at, number] = _ran(made, base, arm, shares[at], span, out, tell)
    tested = [
        Tested(arm.name, [one for (at, _), one in done.items() if at == place]) for place, arm in enumerate(wanted)
    ]
    effects = {
        one.name: {name: effect(one.tables, tested[0].tables, name, paired, seed) for name in MEASURES}
        for one in tested[1:]
    }
    test = Test(tested, effects, span, seed, paired)
    _write(test, out)
    return test


def _label(arm: Arm) -> str:
    return f"{arm.name}, seed {arm.seed}" if arm.models else arm.name


def _checked(world: World, users: int, span: Span) -> int:
    most = world.config.users
    if not 0 <= users <= most:
        raise SettingError(f"--users {users}: the world has {most}: give at most so many, or 0 for all")
    if "long" in world.config.effects:
        raise SettingError("--effects long: authors return on pages of the feed alone: simulate a world without it")
    for name in ("before", "days", "tick"):
        if not getattr(span, name) > 0:
            raise SettingError(f"--{name} {getattr(span, name):g}: give more than 0")
    if span.before + span.days > world.config.days:
        raise SettingError(
            f"--before {span.before:g} and --days {span.days:g}: the world's items come over {world.config.days} days: "
            "give fewer days"
        )
    return users or most


def _dealt(users: int, arms: int, seed: int, paired: bool) -> list[I64]:
    """Users of each arm. Errors: ``SettingError`` where they are too few."""
    everyone = np.arange(users)
    if paired:
        return [everyone] * arms
    which = mix_all(everyone.astype(np.uint64) ^ mix_all(np.array([seed], np.uint64))) % np.uint64(arms)
    shares = [np.flatnonzero(which == arm) for arm in range(arms)]
    if min(map(len, shares)) < 2:
        raise SettingError(f"--users {users}: too few for {arms} arms: give more users, or fewer arms")
    return shares


def _ran(world: World, base: Intercepts, arm: Arm, users: I64, span: Span, out: Path, tell: Progress) -> Ran:
    told = {
        "policy": arm.policy,
        "models": [run.model_dump(mode="json", exclude={"data"}) for run in arm.models],
        "world": asdict(world.config),
        "span": asdict(span),
        "users": hashlib.sha256(users.tobytes()).hexdigest()[:16],
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    folder = out / "arms" / f"{arm.name.replace(' ', '_')}-{digest}"
    if not (folder / "arm.json").exists():
        _run(Loop(world, base, arm, users, span, folder / "models"), folder, told | {"arm": arm.name}, tell)
    return _read(arm, folder)


def _run(loop: Loop, folder: Path, told: dict[str, Any], tell: Progress) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    served = loop.run(tell)
    for name in ("users", "hours"):
        with replacing(folder / f"{name}.parquet") as beside:
            getattr(served, name).write_parquet(beside)
    figures = {**served.figures, "commit": commit(), "machine": machine(), "config": told}
    write_text(folder / "arm.json", json.dumps(figures, indent=1))


def _read(arm: Arm, folder: Path) -> Ran:
    try:
        figures = json.loads((folder / "arm.json").read_text(encoding="utf-8"))
        users, hours = (pl.read_parquet(folder / f"{name}.parquet") for name in ("users", "hours"))
    except (OSError, ValueError, pl.exceptions.PolarsError):
        raise FolderError(f"{folder}: cannot be read: move it away, and start the test again") from None
    return Ran(arm.seed, users, hours, figures)


def _write(test: Test, out: Path) -> None:
    write_lines(out / "arms.jsonl", (arm_line(arm.name, one) for arm in test.arms for one in arm.seeds))
    write_lines(out / "effects.jsonl", effect_lines(test))
    hours = [
        one.hours.with_columns(arm=pl.lit(arm.name), seed=pl.lit(one.seed, pl.Int64))
        for arm in test.arms
        for one in arm.seeds
    ]
    write_lines(out / "hours.jsonl", pl.concat(hours).to_dicts())


def arm_line(arm: str, one: Ran) -> dict[str, Any]:
    """What a result file says of a seed of an arm."""
    means = {name: one.mean(name) for name in (*MEASURES, "play_time_before")}
    return {"arm": arm, "seed": one.seed, **means, **one.figures}


def effect_lines(test: Test) -> Sequence[dict[str, Any]]:
    """A line for each arm and measure."""
    first = test.arms[0].name
    return [
        {
            "arm": arm,
            "against": first,
            "measure": name,
            "paired": test.paired,
            "seeds": test.seeds,
            **_plain(found),
            "seed": test.seed,
        }
        for arm, measures in test.effects.items()
        for name, found in measures.items()
    ]


def _plain(found: Difference) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(found).items()}
