"""`marm study tier`: the memory tier at a scale, from hits and queues to machines and money, and what moves them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from marm.study.runs import write_lines
from marm.study.tier.hits import Filling, Sample, by_memory, filling, found_in, sample_of
from marm.study.tier.settings import Tier
from marm.study.tier.size import Found, Needs, needs_of
from marm.study.tier.wait import Waiting, waiting_in
from marm.train.results import commit, machine

SWAYED: tuple[tuple[str, str, str], ...] = (
    ("people", "users", "users"),
    ("people", "events", "events a day"),
    ("people", "session", "events of a session"),
    ("people", "skew", "inequality of users"),
    ("ring", "window", "window n"),
    ("ring", "width", "width d"),
    ("machines", "cut", "seconds between cuts"),
    ("machines", "trainer_arena", "trainer's arena"),
    ("machines", "node_memory", "memory of a node"),
    ("machines", "network", "network"),
    ("costs", "read_byte", "a node's work for a byte read"),
    ("costs", "append_user", "a node's work for a user appended"),
    ("costs", "answer", "work of a request"),
)
"""What is halved and doubled, one at a time."""

Told = Callable[[str, float], None]
"""Called with what is simulated and the share that is done."""


@dataclass(frozen=True)
class Outcome:
    """One tier."""

    tier: Tier
    found: Found
    needs: Needs
    waiting: Waiting

    def line(self) -> dict[str, Any]:
        """What a result file says of it."""
        needs = {
            **asdict(self.needs),
            "nodes": self.needs.nodes,
            "store": self.needs.store,
            "machines": self.needs.machines,
        }
        return {**self.found._asdict(), **needs, "waiting": asdict(self.waiting)}


@dataclass(frozen=True)
class Swayed:
    """The same with one thing half and twice as large."""

    name: str
    half: Outcome
    twice: Outcome


@dataclass(frozen=True)
class Study:
    """All that was simulated."""

    base: Outcome
    sample: Sample
    by_memory: list[dict[str, float]]
    filling: Filling
    swayed: list[Swayed]


def study_tier(tier: Tier, out: Path, users: int, calls: int, told: Told) -> Study:
    """Simulate a sample of so many users and so many readings; leaves ``tier.jsonl`` in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    told("arenas", 0.0)
    sample = sample_of(tier, users)
    base = _outcome(tier, sample, calls)
    curve, empty = by_memory(tier, sample), filling(tier, sample)
    swayed = []
    for number, (section, key, name) in enumerate(SWAYED):
        told(name, (number + 1) / (len(SWAYED) + 1))
        swayed.append(Swayed(name, *(_changed(tier, sample, calls, section, key, factor) for factor in (0.5, 2.0))))
    write_lines(out / "tier.jsonl", _lines(base, swayed))
    return Study(base, sample, curve, empty, swayed)


def _outcome(tier: Tier, sample: Sample, calls: int) -> Outcome:
    found = found_in(tier, sample)
    needs = needs_of(tier, found)
    return Outcome(tier, found, needs, waiting_in(tier, needs, calls))


def _changed(tier: Tier, sample: Sample, calls: int, section: str, key: str, factor: float) -> Outcome:
    value = getattr(getattr(tier, section), key) * factor
    other = tier.set(**{section: {key: round(value) if section == "ring" else value}})
    return _outcome(other, sample_of(other, sample.users) if section == "people" else sample, calls)


def _lines(base: Outcome, swayed: list[Swayed]) -> list[dict[str, Any]]:
    where = {"commit": commit(), "machine": machine()}
    lines = [{"case": "base", "settings": base.tier.model_dump(), **base.line()}]
    for one in swayed:
        lines += [{"case": f"{one.name}, half", **one.half.line()}, {"case": f"{one.name}, twice", **one.twice.line()}]
    return [line | where for line in lines]
