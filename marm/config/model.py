"""The section about the model."""

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from marm.config.base import Settings
from marm.config.rivals import Kind


class ModelConfig(Settings):
    """The network: L layers of target attention, and a tower over what they made."""

    kind: Kind = "marm"
    """What stands in the place of the layers: ``marm``, or a rival to compare with, which remembers nothing."""

    layers: NonNegativeInt = 3
    """Layers of target attention (L); 0 is a model without history."""

    width: PositiveInt = 32
    """Numbers in a state (D)."""

    heads: PositiveInt = 4
    """Attention heads (H); must divide the width."""

    ffn: NonNegativeFloat = 2.0
    """Inner width of a layer's feed-forward, as a multiple of the width; 0: layers attend and nothing else."""

    experts: PositiveInt = 4
    """Experts of the tower, mixed by a gate for each task (MMoE)."""

    tower: PositiveInt = 64
    """Width of an expert."""

    contrast: bool = True
    """Heads of the first layer begin by adding rows that went well and taking away those that went badly.

    Not those that begin at the newest row of an id (``equal_ids``): they ask what it was.
    """

    token_shift: bool = False
    """Each row of history also brings the event before it, with its outcome."""

    equal_ids: bool = False
    """Layers are told which ids (of the item, of its categories) a row of history shares with the target."""

    raw_rows: bool = False
    """Each remembered row also brings its live embedding."""

    memory_reads: bool = True
    """False: every layer reads live embeddings, nothing remembered (STCA), for comparison."""

    outcomes: bool = True
    """Rows of history carry their outcome, where known."""

    time_gap: bool = True
    """Rows of history carry the time since."""

    rank: bool = True
    """Rows of history carry how many events ago they were."""

    fade: bool = False
    """Heads learn fast how rows fade with age and rank; with ``equal_ids`` they always do. Real logs gained by it."""

    user_id: bool = True
    """The user's id is a feature of the tower."""

    task_layers: bool = False
    """The last attention layer is one for each task, not one for all."""

    all_states: bool = True
    """The tower reads what every layer made; false: the last one's alone."""

    live_gradient: bool = True
    """Gradient flows through states made in the pass that later targets read; false: they are constants, as remembered ones."""

    table_rows: PositiveInt = 2**18
    """Rows of the table that all ids share (two probes for each id); its bytes are this x width x 4."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide width = {self.width}")
        return self


def remembered_depths(config: ModelConfig, store_top: bool) -> int:
    """How many depths are remembered (K): all that a layer reads, and the last on request."""
    if config.kind != "marm" or not config.memory_reads:
        return 0
    return max(config.layers - 1, 0) + (store_top and config.layers > 0)
