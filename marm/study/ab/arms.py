"""Arms of an A/B test: what each shows. A name, or a file that says which models find items and put them in order."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marm.config import RunConfig
from marm.config.load import check_run
from marm.errors import SettingError
from marm.study.models import Sections, laid_over
from marm.world import run_file

POLICIES = ("feed", "random", "popularity", "oracle")
"""Arms without a model: the app's own feed, anything, what is clicked of late, and the true chances."""

_ONE: Sections = {"model": {"layers": 1}}
_SEARCH: Sections = {"memory": {"search": {"rule": "category", "category": "author", "picked": 20, "history": 1000}}}
MODELS: dict[str, tuple[Sections, Sections | None]] = {
    "one_layer": (_ONE, None),
    "marm": ({}, None),
    "marm_search": (_SEARCH, None),
    "marm_retrieval": (_ONE, {}),
    "marm_ranking": ({}, _ONE),
}
"""What is laid over the settings of ranking; and of another model that finds the candidates, where there is one."""

_BASE: Sections = {
    "memory": {"url": "arena://", "window": 50},
    "serve": {"score": "watch_ratio"},
    "stages": {
        "retrieval": {"positive": "long_view", "window": 50, "found": 100, "measured": 0.02},
        "cascading": {"given": 30, "measured": 0.0, "sampled": 0.005},
    },
    "train": {"cut_every": 10**12, "updates": 100},
}
_TASKS = ("click", "long_view", "watch_ratio")
_MAY = ("model", "rival", "memory", "train", "stages", "serve", "negatives")


@dataclass(frozen=True)
class Arm:
    """What one arm does."""

    name: str
    policy: str
    """One of ``POLICIES``, or ``models``."""
    models: tuple[RunConfig, ...] = ()
    """Ranking, and then what finds the candidates, if that is another model."""

    @property
    def seed(self) -> int | None:
        """Of its models; None where it has none."""
        return self.models[0].train.seed if self.models else None

    def seeds(self, count: int) -> list["Arm"]:
        """The same arm with ``count`` seeds of its models, one after the other; once if it has none."""
        if not self.models:
            return [self]
        return [replace(self, models=tuple(_later(run, number) for run in self.models)) for number in range(count)]


def _later(run: RunConfig, number: int) -> RunConfig:
    return laid_over(run, {"train": {"seed": run.train.seed + number}})


def read_arms(text: str, world: Path, seed: int, seeds: int = 1) -> list[Arm]:
    """Arms from names and files with commas between, each with the first of its ``seeds``. Errors: ``SettingError``.

    The same twice is an A/A test: the second one's seeds come after the first one's.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    if len(wanted) < 2:
        raise SettingError(f"--arms {text}: give two arms or more with commas between; the first is compared with")
    labels = [Path(name).stem if name.endswith(".toml") else name for name in wanted]
    before = [labels[:i].count(label) for i, label in enumerate(labels)]
    names = [f"{label} {times + 1}" if times else label for label, times in zip(labels, before, strict=True)]
    arms = [_arm(name, given, world, seed) for name, given in zip(names, wanted, strict=True)]
    return [
        replace(arm, models=tuple(_later(run, times * seeds) for run in arm.models))
        for arm, times in zip(arms, before, strict=True)
    ]


def _arm(name: str, given: str, world: Path, seed: int) -> Arm:
    if given in POLICIES:
        return Arm(name, given)
    if given in MODELS:
        return _of_models(name, MODELS[given], world, seed)
    if not given.endswith(".toml"):
        raise SettingError(f"--arms {given}: no such arm; there are {', '.join([*POLICIES, *MODELS])}, and .toml files")
    return _of_file(name, Path(given), world, seed)


def _of_file(name: str, path: Path, world: Path, seed: int) -> Arm:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(
            f"{path}: cannot be read as TOML ({error}): write [ranking.model] with layers = 1, say"
        ) from None
    policy = told.pop("policy", None)
    if policy is not None:
        if policy not in POLICIES or told:
            raise SettingError(f"{path}: policy = {policy!r}: give one of {', '.join(POLICIES)} and nothing else")
        return Arm(name, policy)
    for key in told:
        if key not in ("ranking", "retrieval"):
            raise SettingError(f"{path}: {key}: an arm has policy, or [ranking.*] and [retrieval.*]")
    return _of_models(name, (told.get("ranking", {}), told.get("retrieval")), world, seed, f"{path}: ")


def _of_models(name: str, both: tuple[Sections, Sections | None], world: Path, seed: int, where: str = "") -> Arm:
    stages = ("ranking", "retrieval")
    runs = [
        run_over(world, one, seed, f"{where}{stage}")
        for one, stage in zip(both, stages, strict=True)
        if one is not None
    ]
    return Arm(name, "models", tuple(runs))


def run_over(world: Path, sections: Sections, seed: int, where: str = "ab") -> RunConfig:
    """Settings of a model in the loop, on a log that is not there yet. Errors: ``SettingError``."""
    for section in sections:
        if section not in _MAY:
            raise SettingError(f"{where}.{section}: the world sets that; an arm may set {', '.join(_MAY)}")
    raw = tomllib.loads(run_file(str(world.resolve())))
    # Known beforehand is the hour alone: why the app's feed shows something is the feed's own affair. A user watches a
    # slate to its end before the next, so every outcome is known when the user's next slate is chosen.
    del raw["features"]["context"]["page"]
    # Too rare for the few days before a test: there may be none at all.
    raw["tasks"] = {name: raw["tasks"][name] for name in _TASKS}
    raw["data"]["feedback_delay"] = 0
    for one in (_BASE, {"train": {"seed": seed}}, sections):
        raw = _laid(raw, one)
    run = check_run(raw, where)
    if run.stages.retrieval is None:
        raise SettingError(f"{where}.stages.retrieval: an arm finds items by it: leave it on")
    if run.serve.diversity:
        raise SettingError(f"{where}.serve.diversity: the loop has none: leave it out")
    return run


def _laid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key: _laid(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
            for key, value in above.items()}  # fmt: skip
    return below | both
