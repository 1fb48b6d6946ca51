"""The sections about the stages before ranking; a section that is not there switches its stage off."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from marm.config.base import Fraction, Settings

if TYPE_CHECKING:
    from marm.config.data import TaskConfig


class RetrievalConfig(Settings):
    """Finds hundreds of items for a user among all: a user's vectors against every item's."""

    positive: str | None = None
    """The binary task whose positives are learned from, attended to and measured; the first, if not given."""

    window: PositiveInt = 200
    """Newest positive events of a user that are attended to, of those within ``memory.window``."""

    layers: PositiveInt | None = None
    """Layers of target attention; layer l reads ranking's depth l - 1. Not given: one for each depth that there is."""

    interests: PositiveInt = 1
    """Vectors of a user; an item's score is the largest over them."""

    width: PositiveInt = 32
    """Numbers in a vector."""

    table_rows: PositiveInt = 2**16
    """Rows of this stage's own table of users and items."""

    temperature: PositiveFloat = 0.3
    """Divides the product of the user's vector and the item's unit vector: the smaller, the faster they come apart."""

    frequency_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """How fast the estimate of an item's frequency follows (Yi et al. 2019)."""

    negatives: NonNegativeInt = 1024
    """Items drawn for each step, beside its own positive ones, to tell the received ones from: few users share a step ..."""

    recent: PositiveInt = 20_000
    """... among so many of the newest positive events."""

    learning_rate: PositiveFloat = 1e-3
    """Of Adam, for all but the table."""

    table_rate: PositiveFloat = 0.1
    """Of row-wise Adagrad, for the table."""

    index: Literal["flat", "hnsw", "ivf"] = "flat"
    """FAISS index over all items: exact, a graph, or inverted lists."""

    found: PositiveInt = 500
    """Items given on."""

    again: bool = False
    """Whether an item that stands in the user's history may be found again."""

    measured: Fraction = 0.1
    """Share of the positive events that are measured, chosen by their numbers in the stream."""

    refresh: PositiveInt = 20
    """Steps after which the vectors of all items are made anew for measuring; new items get theirs at once."""

    popular: PositiveInt = 10_000
    """Newest positive events that popularity counts: what retrieval begins with, and is compared with."""

    near: PositiveInt = 10
    """Co-occurrence, to compare with: an event is paired with so many of its user's positive events before it ..."""

    partners: PositiveInt = 64
    """... and so many other items are counted for each item."""


class CascadingConfig(Settings):
    """Of thousands of candidates it leaves hundreds for ranking: a light model over ranking's newest states."""

    window: PositiveInt = 50
    """Newest events of a user that are attended to, of those within ``memory.window``."""

    depth: NonNegativeInt | None = None
    """Depth of ranking's states that are read; 0 are embeddings. Not given: 1 where it is remembered."""

    tower: PositiveInt = 32
    """Width of the tower."""

    table_rows: PositiveInt = 2**16
    """Rows of this stage's own table of users and items."""

    distil: NonNegativeFloat = 1.0
    """Weight of ranking's scores in the loss, beside the labels."""

    unexposed: NonNegativeInt = 64
    """Items of late events, drawn for a sampled event, that ranking scores for this stage to learn from."""

    sampled: Fraction = 0.02
    """Share of the events that items are drawn for, chosen by their numbers in the stream."""

    learning_rate: PositiveFloat = 2e-3
    """Of Adam, for all but the table."""

    table_rate: PositiveFloat = 0.05
    """Of row-wise Adagrad, for the table."""

    given: PositiveInt = 200
    """Candidates given on to ranking."""

    measured: Fraction = 0.005
    """Share of the positive events that are measured through all stages, chosen by their numbers in the stream."""


class StagesConfig(Settings):
    """Which stages are trained beside ranking; none of them moves a bit of ranking."""

    retrieval: RetrievalConfig | None = None
    cascading: CascadingConfig | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.retrieval is not None or self.cascading is not None


def check_stages(
    stages: StagesConfig, positive: str, tasks: "Mapping[str, TaskConfig]", outcomes: bool, depths: int
) -> None:
    """Errors: ``ValueError`` where ranking has no such task, outcome (``outcomes``: whether any) or depth to read."""
    retrieval, cascading = stages.retrieval, stages.cascading
    if retrieval is not None:
        task = tasks.get(positive)
        if task is None or task.kind != "binary":
            binary = ", ".join(name for name, one in tasks.items() if one.kind == "binary") or "none"
            raise ValueError(f"stages.retrieval.positive = {positive!r}: no such binary task; there is {binary}")
        if not task.every_row and not (task.history and outcomes):
            raise ValueError(
                f"stages.retrieval.positive = {positive!r}: histories do not carry that outcome: set "
                f"tasks.{positive}.history = true and model.outcomes = true"
            )
        if (retrieval.layers or 1) > 1 + depths:
            raise ValueError(
                f"stages.retrieval.layers = {retrieval.layers}: ranking remembers depths 1 to {depths}; "
                f"give at most {1 + depths}"
            )
    if cascading is not None and (cascading.depth or 0) > depths:
        raise ValueError(f"stages.cascading.depth = {cascading.depth}: ranking remembers depths 1 to {depths} only")
