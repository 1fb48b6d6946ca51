"""Settings of the models that MARM is compared with (``model.kind``)."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from marm.config.base import Settings

Kind = Literal["marm", "mean", "din", "sim_hard", "sim_soft", "twin", "eta", "sasrec", "hstu", "recompute"]
"""What reads a user's history: MARM's layers, or a rival in their place."""


class RivalConfig(Settings):
    """What only rivals need; the rest, width and heads say, they take from ``[model]`` as MARM does."""

    picked: PositiveInt = 64
    """Rows that a searching rival attends to, of all in ``memory.window`` (SIM, TWIN, ETA)."""

    newest: NonNegativeInt = 16
    """How many of them are the newest ones, whatever the search says: what these papers leave to a second, short module."""

    category: str | None = None
    """Item feature that ``sim_hard`` searches by, category or tags; the first of its kind where none is named."""

    bits: PositiveInt = 64
    """Bits of a signature (ETA)."""

    activation: PositiveInt = 36
    """Inner width of the activation unit (DIN)."""
