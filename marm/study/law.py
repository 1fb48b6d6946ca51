"""The power law that a scaling study is fitted with, what depth and a search bring beside it, and how sure all of it is."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from marm.types import F64

EXPONENTS: F64 = np.concatenate([np.linspace(-2, -0.01, 200), np.linspace(0.01, 1, 100)])
"""Exponents that are tried; for each all else has a closed form, so nothing can get stuck."""

DRAWS = 300

Letter = Literal["a", "b", "c", "e", "f"]
LETTERS: tuple[Letter, ...] = get_args(Letter)


@dataclass(frozen=True)
class Places:
    """What a law is told of the places of a grid, (P,) each."""

    numbers: F64
    """The paper's C = L n d."""
    layers: F64
    picked: F64
    """Rows of a search (K), 0 without one."""

    def at(self, which: np.ndarray) -> "Places":
        """Some of them, by number or by flag."""
        return Places(self.numbers[which], self.layers[which], self.picked[which])

    @property
    def searches(self) -> bool:
        """Whether they differ in K."""
        return len(np.unique(self.picked)) > 1

    @property
    def depths(self) -> bool:
        """Whether what depth brings can be told from what C does: of two depths, one has several C."""
        several = [len(np.unique(self.numbers[self.layers == depth])) for depth in np.unique(self.layers)]
        return len(several) > 1 and max(several) > 1

    @property
    def beside(self) -> F64:
        """(P, 2): what counts beside C, the logarithms of 1 + K and L."""
        return np.column_stack([np.log1p(self.picked), np.log(self.layers)])


@dataclass(frozen=True)
class Law:
    """y = a + b C^c + e ln(1 + K) + f ln L."""

    a: float
    b: float
    c: float
    e: float = 0.0
    """What a search of K rows brings, of either sign; 0 where places do not differ in K."""
    f: float = 0.0
    """What depth brings at equal C, of either sign; 0 where the grid cannot tell. The paper's law has it at 0."""

    def at(self, places: Places) -> F64:
        """y at each place (P,)."""
        y: F64 = self.a + self.b * places.numbers**self.c + places.beside @ np.array([self.e, self.f])
        return y


@dataclass(frozen=True)
class Fit:
    """A law, and what comes out when the places of the grid are drawn with replacement."""

    law: Law
    places: Places
    drawn: list[Law]
    held_out: float
    """Root of the mean square error at each place, by the law of all others."""
    spread: float
    """The same for the mean of all others, which a law must beat to say anything."""

    @property
    def letters(self) -> list[Letter]:
        """Those that the grid can tell."""
        unknown = {"e": not self.places.searches, "f": not self.places.depths}
        return [name for name in LETTERS if not unknown.get(name)]

    @property
    def formula(self) -> str:
        """The law in letters."""
        beside = {"e": " + e ln(1 + K)", "f": " + f ln L"}
        return "GAUC = a + b C^c" + "".join(beside.get(name, "") for name in self.letters)

    def interval(self, name: Letter) -> tuple[float, float]:
        """What holds 95 % of the draws' a, b, c, e or f."""
        low, high = np.quantile([getattr(law, name) for law in self.drawn], [0.025, 0.975])
        return float(low), float(high)

    def band(self, places: Places) -> tuple[F64, F64]:
        """What holds 95 % of the draws' y at each place."""
        low, high = np.quantile(np.stack([law.at(places) for law in self.drawn]), [0.025, 0.975], axis=0)
        return low, high


def fit_law(places: Places, y: F64) -> Law:
    """The least squares over all exponents; (P,) places with three different C or more."""
    powers = places.numbers[:, None] ** EXPONENTS
    beside = places.beside * [places.searches, places.depths]
    means = beside.mean(0)
    centred, gap, beside = powers - powers.mean(0), y - y.mean(), beside - means
    # What K and L explain is taken out of both, so that b is what is left for C to explain.
    weights = np.linalg.pinv(beside)
    alone, left = centred - beside @ (weights @ centred), gap - beside @ (weights @ gap)
    square = (alone**2).sum(0)
    b = np.where(square > 0, (alone * left[:, None]).sum(0) / np.maximum(square, 1e-300), 0.0)
    best = int(((left[:, None] - b * alone) ** 2).sum(0).argmin())
    e, f = weights @ (gap - b[best] * centred[:, best])
    a = y.mean() - b[best] * powers[:, best].mean() - means @ [e, f]
    return Law(float(a), float(b[best]), float(EXPONENTS[best]), float(e), float(f))


def fit(places: Places, y: F64, seed: int = 0, draws: int = DRAWS) -> Fit:
    """Fit, bootstrap over the places of the grid for intervals, and foretell each place from all others."""
    every, draw = np.arange(len(y)), np.random.default_rng(seed)
    laws: list[Law] = []
    while len(laws) < draws:
        at = draw.integers(len(y), size=len(y))
        some = places.at(at)
        if len(np.unique(some.numbers)) < 3 or (some.searches, some.depths) != (places.searches, places.depths):
            continue
        laws.append(fit_law(some, y[at]))
    wrong = [
        (y[out] - fit_law(places.at(every != out), y[every != out]).at(places.at(every == out))[0],
         y[out] - y[every != out].mean())
        for out in every
    ]  # fmt: skip
    held_out, spread = np.sqrt(np.mean(np.square(wrong), axis=0))
    return Fit(fit_law(places, y), places, laws, float(held_out), float(spread))
