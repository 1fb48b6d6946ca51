"""Settings of the simulated app."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from marm.errors import SettingError

EFFECTS = ("drift", "satiation", "order", "long")


@dataclass(frozen=True)
class WorldConfig:
    """Size, effects and their strengths; strengths are in logits of a click. Errors: ``SettingError``."""

    users: int = 500
    items: int = 2_000
    events: int = 60_000
    seed: int = 0
    effects: tuple[str, ...] = ("drift", "satiation")
    """Any of ``EFFECTS``; with none only static taste matters."""
    days: int = 31
    categories: int = 24
    width: int = 8
    """Dimensions of taste and interest."""
    user_bias: float = 0.7
    quality: float = 0.5
    taste: float = 0.6
    category_taste: float = 0.4
    drift: float = 1.2
    """Standard deviation of the moving interest."""
    interest_length: float = 100.0
    """Half-life of the moving interest, in events of the user."""
    satiation: float = 3.0
    """Most that repeats of a category take away."""
    satiation_length: float = 12.0
    """Half-life of having seen a category, in events of the user."""
    order: float = 1.0
    """What the follower of the category adds or takes."""
    long: float = 1.5
    """What an author's return adds or takes."""
    long_period: int = 2_000
    """Events of the user from one visit of a returning author to the next."""
    content: int = 0
    """Width of a content embedding in the item file; 0 for none."""

    def __post_init__(self) -> None:
        for name in self.effects:
            if name not in EFFECTS:
                near = difflib.get_close_matches(name, EFFECTS, 1)
                raise SettingError(
                    f"--effects {name}: no such effect; " + (f"did you mean {near[0]}?" if near else _choices())
                )
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise SettingError(f"{name} = {getattr(self, name)}: give at least {least}")
        if self.events < self.users:
            raise SettingError(f"events = {self.events} for {self.users} users: give at least one event a user")
        if "long" in self.effects:
            self._check_long()

    def _check_long(self) -> None:
        mean = self.events // self.users
        if mean < self.long_period:
            raise SettingError(
                f"--effects long: nothing returns within {mean} events a user, the period is {self.long_period}: "
                f"give more events, fewer users or --long-period {max(mean // 3, PAGE_PERIOD)}"
            )
        if self.returning * MIN_RETURNING > self.items // 2:
            raise SettingError(
                f"--effects long: {self.items} items are too few for {self.returning} returning authors: give "
                f"--items {self.returning * MIN_RETURNING * 2} or a shorter --long-period"
            )

    @property
    def returning(self) -> int:
        """Authors whose pages come round in turn; 0 without the effect ``long``."""
        return max(1, round(self.long_period / PAGE_PERIOD)) if "long" in self.effects else 0

    def strength(self, effect: str) -> float:
        """Strength of an effect, 0 where it is off."""
        return float(getattr(self, effect)) if effect in self.effects else 0.0


AUTHOR_PAGE_EVERY = 5
"""Slates from one author's page to the next, where authors return."""

SLATE_MEAN = 5.81
"""Exposures of a slate: what makes the published share of gaps below a second."""

SLATE_MOST = 16

PAGE_PERIOD = round(AUTHOR_PAGE_EVERY * SLATE_MEAN)
"""Events from one author's page to the next."""

MIN_RETURNING = 8
"""Fewest items of a returning author: about a slate."""

_LEAST = {"users": 1, "items": 100, "seed": 0, "days": 1, "categories": 2, "width": 1, "long_period": 1, "content": 0,
          "interest_length": 0.1, "satiation_length": 0.1}  # fmt: skip


def parse_effects(text: str) -> tuple[str, ...]:
    """``drift,order`` as names in their fixed order; names that are none are kept for ``WorldConfig`` to refuse."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    return tuple(sorted(names, key=_rank))


def _rank(name: str) -> tuple[int, str]:
    return (EFFECTS.index(name) if name in EFFECTS else len(EFFECTS), name)


def _choices(names: Sequence[str] = EFFECTS) -> str:
    return "choose among " + ", ".join(names)
