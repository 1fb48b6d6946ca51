"""Settings of the search in long histories."""

from typing import Literal

from pydantic import PositiveInt, model_validator

from marm.config.base import Settings


class SearchConfig(Settings):
    """What a target attends to beside its window: for each layer the most relevant of the events before (SIM)."""

    rule: Literal["category", "dot", "hash"]
    """``category`` the target's own, newest first; ``dot`` the layer's query times each state; ``hash`` the same by signs."""

    picked: PositiveInt = 100
    """Events picked for each target and layer (K)."""

    history: PositiveInt = 10_000
    """Events before the window that are searched (S)."""

    category: str | None = None
    """Rule ``category``: the item feature, one of kind ``category``."""

    bits: Literal[64, 128] = 64
    """Rule ``hash``: bits kept of each row and layer."""

    shared: bool = False
    """Every layer reads what the first one found, for comparison."""

    @model_validator(mode="after")
    def _names_its_category(self) -> "SearchConfig":
        if (self.rule == "category") != (self.category is not None):
            raise ValueError('rule = "category" and a feature named by category go together: set both or neither')
        return self
