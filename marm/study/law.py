"""The power law y = a + b x^c that a scaling study is fitted with, and how sure it is; with a search, + e ln(1 + K)."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from marm.types import F64

EXPONENTS: F64 = np.concatenate([np.linspace(-2, -0.01, 200), np.linspace(0.01, 1, 100)])
"""Exponents that are tried; for each the best a, b and e have a closed form, so nothing can get stuck."""

DRAWS = 300

Letter = Literal["a", "b", "c", "e"]
LETTERS: tuple[Letter, ...] = get_args(Letter)


@dataclass(frozen=True)
class Law:
    """y = a + b x^c + e ln(1 + K)."""

    a: float
    b: float
    c: float
    e: float = 0.0
    """What a search of K rows brings, of either sign; 0 where no place of the grid has another K than the rest."""

    def at(self, x: F64, picked: F64 | float = 0.0) -> F64:
        """y at x, with ``picked`` rows of a search."""
        y: F64 = self.a + self.b * x**self.c + self.e * np.log1p(picked)
        return y


@dataclass(frozen=True)
class Fit:
    """A law, and what comes out when the places of the grid are drawn with replacement."""

    law: Law
    drawn: list[Law]
    held_out: float
    """Root of the mean square error at places that a draw left out."""
    spread: float
    """The same for the mean of the places that were drawn, which a law must beat to say anything."""

    def interval(self, name: Letter) -> tuple[float, float]:
        """What holds 95 % of the draws' a, b, c or e."""
        low, high = np.quantile([getattr(law, name) for law in self.drawn], [0.025, 0.975])
        return float(low), float(high)

    def band(self, x: F64, picked: F64 | float = 0.0) -> tuple[F64, F64]:
        """What holds 95 % of the draws' y at x, with ``picked`` rows of a search."""
        low, high = np.quantile(np.stack([law.at(x, picked) for law in self.drawn]), [0.025, 0.975], axis=0)
        return low, high


def fit_law(x: F64, y: F64, picked: F64 | None = None) -> Law:
    """The least squares over all exponents; (n,) places with n of three or more, and rows picked at each (0: no search)."""
    powers = x[:, None] ** EXPONENTS
    found = np.log1p(np.zeros_like(x) if picked is None else picked)
    centred, gap, beside = powers - powers.mean(0), y - y.mean(), found - found.mean()
    # What K explains is taken out of both, so that b is what is left for x to explain.
    weight = beside / max(float(beside @ beside), 1e-300)
    alone, left = centred - np.outer(beside, weight @ centred), gap - beside * (weight @ gap)
    square = (alone**2).sum(0)
    b = np.where(square > 0, (alone * left[:, None]).sum(0) / np.maximum(square, 1e-300), 0.0)
    wrong = ((left[:, None] - b * alone) ** 2).sum(0)
    best = int(wrong.argmin())
    e = float(weight @ (gap - b[best] * centred[:, best]))
    a = y.mean() - b[best] * powers[:, best].mean() - e * found.mean()
    return Law(float(a), float(b[best]), float(EXPONENTS[best]), e)


def fit(x: F64, y: F64, picked: F64 | None = None, seed: int = 0, draws: int = DRAWS) -> Fit:
    """Fit, and bootstrap over the places of the grid; those that a draw leaves out say how well it foretells."""
    draw = np.random.default_rng(seed)
    rows = np.zeros_like(x) if picked is None else picked
    several = min(2, len(np.unique(rows)))
    laws: list[Law] = []
    wrong, base = [], []
    while len(laws) < draws:
        at = draw.integers(len(x), size=len(x))
        out = np.setdiff1d(np.arange(len(x)), at)
        if len(np.unique(x[at])) < 3 or len(np.unique(rows[at])) < several or not len(out):
            continue
        law = fit_law(x[at], y[at], rows[at])
        laws.append(law)
        wrong.append(y[out] - law.at(x[out], rows[out]))
        base.append(y[out] - y[at].mean())
    errors = (float(np.sqrt(np.mean(np.concatenate(each) ** 2))) for each in (wrong, base))
    return Fit(fit_law(x, y, rows), laws, *errors)
