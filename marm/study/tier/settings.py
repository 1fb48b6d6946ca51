"""What a simulated tier is made of; every number is measured (and says on what) or an assumption to change."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from marm.config.base import Fraction, Settings
from marm.config.load import first_mistake, set_values
from marm.errors import SettingError

Share = Annotated[float, Field(gt=0.0, le=1.0)]

KEYS, FRAGMENTATION = 1.07, 1.33
"""Bytes that Redis counts for a byte of rows, and that its process takes for one that it counts: measured (docs/cluster.md)."""

HOURS = (
    10_624_659, 6_462_822, 4_132_020, 2_911_135, 2_617_287, 3_692_549, 6_873_534, 9_968_651, 11_545_430, 12_947_165,
    14_427_110, 15_441_567, 17_029_465, 17_132_315, 15_454_700, 15_767_584, 16_594_065, 17_525_682, 18_844_519, 19_871_032,
    21_315_043, 22_117_433, 21_859_219, 17_123_399,
)  # fmt: skip
PAUSES = {(1.0, 10.0): 5_175_602, (10.0, 60.0): 17_753_904, (60.0, 300.0): 21_057_055, (300.0, 1800.0): 7_444_288}
"""Seconds between a user's requests within a session, and how often: what KuaiRand-27K counts."""


class People(Settings):
    """Who comes, and when. Defaults are the paper's traffic, and the habits of KuaiRand-27K's 27,285 users in 31 days."""

    users: PositiveFloat = 400e6
    """Who come at all."""

    events: PositiveFloat = 50e9
    """Of a day."""

    skew: NonNegativeFloat = 0.96
    """Standard deviation of the logarithm of a user's events."""

    session: PositiveFloat = 78.7
    """Events of a session (a pause of half an hour ends it): 322,278,385 exposures in 150.16 sessions of each user."""

    session_spread: NonNegativeFloat = 1.0
    """Standard deviation of its logarithm. An assumption."""

    request: Annotated[float, Field(ge=1.0)] = 5.8
    """Events that one request shows: 83 % of KuaiRand-27K's follow the one before within a second."""

    pauses: tuple[tuple[float, float, float], ...] = tuple(
        (*between, float(often)) for between, often in PAUSES.items()
    )
    """Seconds between a session's requests: from, to, weight."""

    hours: tuple[NonNegativeFloat, ...] = HOURS
    """Weight of each hour of the day."""

    @field_validator("hours")
    @classmethod
    def _a_day(cls, hours: tuple[float, ...]) -> tuple[float, ...]:
        if len(hours) != 24 or not sum(hours):
            raise ValueError("give 24 weights, not all zero")
        return hours

    @property
    def peak(self) -> float:
        """The busiest hour, in average ones."""
        return max(self.hours) * 24 / sum(self.hours)

    @property
    def events_per_s(self) -> float:
        """On average over the day."""
        return self.events / 86_400

    @property
    def requests_per_s(self) -> float:
        """On average over the day."""
        return self.events_per_s / self.request


class Ring(Settings):
    """What is remembered of a user."""

    depths: PositiveInt = 4
    """States kept of an event."""

    width: PositiveInt = 64
    number: PositiveInt = 2
    """Bytes of a number: 2 in float16."""

    facts: PositiveInt = 40
    """Bytes of a row of facts."""

    sums: PositiveInt = 8
    """Bytes of checksums of a row: four in either column."""

    window: PositiveInt = 100
    beside: NonNegativeInt = 33
    """Rows beyond the window: live tail, token shift, slack."""

    filled: Share = 1.0
    """Share of the ring that the average user has filled."""

    @property
    def row(self) -> int:
        """Bytes of an event in a store."""
        return self.depths * self.width * self.number + self.facts + self.sums

    @property
    def rows(self) -> int:
        """Of a full ring."""
        return self.window + self.beside

    @property
    def bytes(self) -> float:
        """Of a user, on average."""
        return self.rows * self.row * self.filled


class Machines(Settings):
    """What there is to run on, and how full it may be. Assumptions, all of them."""

    node_memory: PositiveFloat = 32e9
    """Bytes of one server process of the store."""

    memory: PositiveFloat = 512e9
    """Bytes of one machine."""

    cores: PositiveInt = 64
    """Of one machine; a process of the store has one."""

    network: PositiveFloat = 12.5e9
    """Bytes a second of one machine: 100 Gbit/s."""

    replicas: NonNegativeInt = 1
    """Copies beside the first."""

    full: Share = 0.67
    """Share of a node's memory that may be in use: the rest is for a new replica and a rewrite of its file."""

    busy: Share = 0.5
    """Share of a core or a network that may be in use at the busiest hour."""

    overhead: PositiveFloat = round(KEYS * FRAGMENTATION, 2)
    """Bytes taken for a byte of rows."""

    trip: PositiveFloat = 0.0002
    """Seconds there and back, without load."""

    promotion: PositiveFloat = 16.0
    """Seconds until a lost primary's replica serves: Redis's usual time-out of 15, and one to agree."""

    cut: PositiveFloat = 60.0
    """Seconds between two cuts: memory is written, and servers open the new one with empty arenas."""

    writers: PositiveInt = 1
    """Processes that write a cut to the store: rank 0 alone, as the code is."""

    spread: Fraction = 0.0
    """Share of the time between two cuts over which its writing is spread: 0 is as fast as it goes, as the code is."""

    together: PositiveInt = 64
    """Users that a trainer reads in one call."""

    trainer_arena: PositiveFloat = 128e9
    """Bytes of hot arena of a training machine."""

    server_arena: PositiveFloat = 64e9
    """Bytes of hot arena of a serving machine."""

    sticky: bool = True
    """Whether a balancer sends a user to the same server."""


class Costs(Settings):
    """Seconds of work, measured by `python -m benchmarks.tier` on two Xeon cores; `--costs` reads another machine's."""

    read_call: NonNegativeFloat = 8.84e-05
    """A node's, for each call that it is asked."""
    read_user: NonNegativeFloat = 5.82e-06
    read_byte: NonNegativeFloat = 1.32e-09
    wake: NonNegativeFloat = 6.37e-05
    """What a call waits longer for a node that was idle."""
    append_user: NonNegativeFloat = 0.000117
    """A node's, for a user's rows of one cut, with the half chunk that they are written to."""
    append_byte: NonNegativeFloat = 4.03e-09
    ask_call: NonNegativeFloat = 0.000631
    """The asking side's, for each call."""
    ask_node: NonNegativeFloat = 8.54e-05
    """For each node that a call asks."""
    ask_user: NonNegativeFloat = 2.03e-05
    ask_byte: NonNegativeFloat = 1.27e-09
    write_user: NonNegativeFloat = 3.12e-05
    """The writing side's, for each user written."""
    write_byte: NonNegativeFloat = 8.89e-10
    jitter: tuple[PositiveFloat, ...] = (
        0.85, 0.87, 0.88, 0.88, 0.88, 0.89, 0.89, 0.9, 0.9, 0.91, 0.91, 0.91, 0.92, 0.92, 0.92, 0.92, 0.92, 0.92, 0.93, 0.93,
        0.93, 0.94, 0.94, 0.94, 0.94, 0.95, 0.95, 0.95, 0.95, 0.96, 0.96, 0.96, 0.96, 0.96, 0.97, 0.97, 0.97, 0.97, 0.98, 0.98,
        0.98, 0.98, 0.98, 0.99, 0.99, 0.99, 0.99, 1, 1, 1, 1, 1, 1, 1.01, 1.01, 1.01, 1.01, 1.02, 1.02, 1.02,
        1.02, 1.03, 1.03, 1.03, 1.03, 1.03, 1.03, 1.04, 1.04, 1.04, 1.05, 1.05, 1.05, 1.06, 1.06, 1.07, 1.07, 1.08, 1.08, 1.09,
        1.09, 1.09, 1.1, 1.1, 1.11, 1.11, 1.12, 1.12, 1.13, 1.15, 1.17, 1.18, 1.19, 1.19, 1.2, 1.23, 1.25, 1.3, 1.4, 1.5,
    )  # fmt: skip
    """Of a reading, seconds taken over the median: equally likely draws."""

    learn: PositiveFloat = 1.2e-4
    """A core's, to learn from an event: L=3, d=32, n=100 (docs/results.md)."""

    answer: PositiveFloat = 0.06
    """A core's, to answer a request by three stages, 500 candidates: two cores answer 33 a second at L=4, d=64, n=1000."""

    remake: PositiveFloat = 1.4e-4
    """A core's, to make a row's states anew: L=3, d=32, n=100 on two cores."""


class Prices(Settings):
    """Assumptions, in any currency."""

    machine_hour: NonNegativeFloat = 4.0
    """Of a machine of the store, of training or of serving."""


class Tier(Settings):
    """All of it."""

    people: People = People()
    ring: Ring = Ring()
    machines: Machines = Machines()
    costs: Costs = Costs()
    prices: Prices = Prices()

    def set(self, **sections: dict[str, object]) -> "Tier":
        """With other values in place of some."""
        return Tier.model_validate({**self.model_dump(), **{
            name: {**getattr(self, name).model_dump(), **values} for name, values in sections.items()
        }})  # fmt: skip


def load_tier(
    path: Path | None,
    sets: Sequence[str],
    costs: dict[str, object] | None = None,
    people: dict[str, object] | None = None,
) -> Tier:
    """``sets`` over a TOML file's settings over ``costs`` and habits of ``people``; errors: ``SettingError``."""
    raw: dict[str, object] = {}
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingError(f"{path}: cannot be read ({error}); name a TOML file") from None
    for name, found in (("costs", costs), ("people", people)):
        given = raw.get(name, {})
        if found and isinstance(given, dict):
            raw[name] = {**found, **given}
    set_values(raw, sets)
    try:
        return Tier.model_validate(raw)
    except ValidationError as error:
        raise SettingError(f"{path or 'tier'}: {first_mistake(error, Tier)}") from None


def costs_of(path: Path) -> dict[str, object]:
    """The costs in the last line that a benchmark wrote; errors: ``SettingError``."""
    try:
        last = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        return dict(last["costs"])
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        raise SettingError(
            f"{path}: no JSON line with costs: write it by `python -m benchmarks.tier --out FILE`"
        ) from None
