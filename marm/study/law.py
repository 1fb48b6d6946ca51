"""The power law y = a + b x^c that a scaling study is fitted with, and how sure it is."""

from dataclasses import dataclass

import numpy as np

from marm.types import F64

EXPONENTS: F64 = np.concatenate([np.linspace(-2, -0.01, 200), np.linspace(0.01, 1, 100)])
"""Exponents that are tried; for each the best a and b have a closed form, so nothing can get stuck."""

DRAWS = 300


@dataclass(frozen=True)
class Law:
    """y = a + b x^c."""

    a: float
    b: float
    c: float

    def at(self, x: F64) -> F64:
        """y at x."""
        return self.a + self.b * x**self.c


@dataclass(frozen=True)
class Fit:
    """A law, and what comes out when the places of the grid are drawn with replacement."""

    law: Law
    drawn: list[Law]
    held_out: float
    """Root of the mean square error at places that a draw left out."""
    spread: float
    """The same for the mean of the places that were drawn, which a law must beat to say anything."""

    def interval(self, name: str) -> tuple[float, float]:
        """What holds 95 % of the draws' a, b or c."""
        low, high = np.quantile([getattr(law, name) for law in self.drawn], [0.025, 0.975])
        return float(low), float(high)

    def band(self, x: F64) -> tuple[F64, F64]:
        """What holds 95 % of the draws' y at x."""
        low, high = np.quantile(np.stack([law.at(x) for law in self.drawn]), [0.025, 0.975], axis=0)
        return low, high


def fit_law(x: F64, y: F64) -> Law:
    """The least squares over all exponents; (n,) places with n of three or more."""
    powers = x[:, None] ** EXPONENTS
    centred, gap = powers - powers.mean(0), y - y.mean()
    square = (centred**2).sum(0)
    b = np.where(square > 0, (centred * gap[:, None]).sum(0) / np.maximum(square, 1e-300), 0.0)
    wrong = ((gap[:, None] - b * centred) ** 2).sum(0)
    best = int(wrong.argmin())
    return Law(float(y.mean() - b[best] * powers[:, best].mean()), float(b[best]), float(EXPONENTS[best]))


def fit(x: F64, y: F64, seed: int = 0, draws: int = DRAWS) -> Fit:
    """Fit, and bootstrap over the places of the grid; those that a draw leaves out say how well it foretells."""
    draw = np.random.default_rng(seed)
    laws: list[Law] = []
    wrong, base = [], []
    while len(laws) < draws:
        at = draw.integers(len(x), size=len(x))
        out = np.setdiff1d(np.arange(len(x)), at)
        if len(np.unique(x[at])) < 3 or not len(out):
            continue
        law = fit_law(x[at], y[at])
        laws.append(law)
        wrong.append(y[out] - law.at(x[out]))
        base.append(y[out] - y[at].mean())
    return Fit(fit_law(x, y), laws, *(float(np.sqrt(np.mean(np.concatenate(e) ** 2))) for e in (wrong, base)))
