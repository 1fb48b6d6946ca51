"""The settings themselves: one class for each section of a run file."""

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from marm.config.base import Settings
from marm.config.formula import Formula
from marm.config.rivals import Kind, RivalConfig
from marm.config.search import SearchConfig
from marm.config.serving import ServeConfig
from marm.config.stages import StagesConfig, check_stages


class SideFile(Settings):
    """A second file joined to the log by id; one row for each id."""

    file: str
    """Path relative to ``data.path``; Parquet, CSV or NDJSON."""

    id: str
    """Its id column; ids compare as text."""


class DataConfig(Settings):
    """Where the log is and what its columns mean."""

    path: str = "."
    """Base folder, relative to the run file; every file below is relative to it."""

    log: str | list[str]
    """A file, a list of files, a glob or a folder of Parquet, CSV or NDJSON."""

    where: str | None = None
    """SQL condition on rows to keep; dropped rows are counted."""

    user: str
    """Column of the user id; any type, compared as text."""

    item: str
    """Column of the item id; any type, compared as text."""

    time: str
    """Column of the exposure's time: seconds, milliseconds, microseconds or datetimes."""

    time_unit: Literal["auto", "s", "ms", "us"] = "auto"
    """Unit of a numeric time; ``auto`` tells it from the first value and says so."""

    first: PositiveInt | None = None
    """Only this many events, the first by time, are taken: for trials on the beginning of a log."""

    feedback_delay: NonNegativeFloat | str = 0.0
    """Seconds until an exposure's outcome is known, or the column that holds them."""

    history: str | None = None
    """SQL condition: which exposures enter histories (long-watched ones, say); all are still learned from."""

    items: SideFile | None = None
    """Features of items."""

    users: SideFile | None = None
    """Features of users."""


class FeatureConfig(Settings):
    """One feature: ``name = "category"`` or ``name = {kind = "number", linear = true}``."""

    kind: Literal["category", "tags", "number", "vector"]
    """``category`` one id, ``tags`` a list (or text split at ``|``), ``number`` a scalar, ``vector`` a list of floats."""

    linear: bool = False
    """Numbers: a learned direction times sign(x) log(1 + |x|) instead of buckets of that."""


def _feature(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class FeaturesConfig(Settings):
    """Columns that describe items, users and the context of an exposure, beside the ids."""

    item: dict[str, FeatureConfig] = Field(default_factory=dict)
    """Columns of the item file, or, for categories, of the log."""

    user: dict[str, FeatureConfig] = Field(default_factory=dict)
    """Columns of the user file, or of the log."""

    context: dict[str, FeatureConfig] = Field(default_factory=dict)
    """Columns of the log known before the outcome (page, device, hour ...)."""

    @field_validator("item", "user", "context", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {name: _feature(kind) for name, kind in value.items()} if isinstance(value, dict) else value


class TaskConfig(Settings):
    """One thing to predict of an exposure."""

    column: str | None = None
    """Column of the outcome; null means this outcome was not observed for this row."""

    kind: Literal["binary", "regression"] = "binary"
    """``binary`` learns a probability by cross-entropy, ``regression`` a number by Huber loss on its log scale."""

    at_least: float | None = None
    """Positive where the column is at least this."""

    equals: bool | int | float | str | None = None
    """Positive where the column equals this (compared as text)."""

    every_row: bool = False
    """Positive on every row: a log of clicks or purchases; needs drawn negatives."""

    divide_by: str | None = None
    """Column to divide by first (watch time by duration gives the watch ratio)."""

    weight: NonNegativeFloat = 1.0
    """Share of this task in the loss; 0 keeps it as an outcome in histories only."""

    history: bool = True
    """Whether rows of history carry this outcome, where known."""

    edges: list[float] = Field([0.1, 0.5, 1.0, 3.0])
    """Regression: the buckets by which rows of history carry the number."""

    @model_validator(mode="after")
    def _one_meaning(self) -> "TaskConfig":
        rules = [self.at_least is not None, self.equals is not None, self.every_row]
        if sum(rules) > 1:
            raise ValueError("give one of at_least, equals and every_row")
        if self.kind == "regression" and any(rules):
            raise ValueError('kind = "regression" takes the column as it is: drop at_least, equals and every_row')
        if not self.every_row and self.column is None:
            raise ValueError("name its column, or set every_row = true")
        return self


class NegativesConfig(Settings):
    """Negatives for logs that hold positives only (sampled among items of earlier events)."""

    per_event: NonNegativeInt = 0
    """Drawn negatives for each event; 0 for a log that holds true negatives."""

    recent: PositiveInt = 100_000
    """They are items of events among the last this many of the log before the event."""


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

    ffn: PositiveFloat = 2.0
    """Inner width of a layer's feed-forward, as a multiple of the width."""

    experts: PositiveInt = 4
    """Experts of the tower, mixed by a gate for each task (MMoE)."""

    tower: PositiveInt = 64
    """Width of an expert."""

    token_shift: bool = False
    """Each row of history also brings the event before it, with its outcome."""

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

    user_id: bool = True
    """The user's id is a feature of the tower."""

    task_layers: bool = False
    """The last attention layer is one for each task, not one for all."""

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


NO_PASSWORD = "a run file is no place for a password: leave it out, and set MARM_REDIS_USERNAME and MARM_REDIS_PASSWORD"


class MemoryConfig(Settings):
    """What is remembered of each exposure, and where."""

    url: str = "lmdb://memory"
    """Where rings live: ``arena://`` (this process), ``lmdb:///path`` (``lmdb://memory``: inside the run folder), or
    ``redis://host:port/name`` (one server or a cluster; ``rediss://`` by TLS)."""

    window: PositiveInt = 100
    """Most recent events a target attends to (N)."""

    codec: Literal["float32", "float16", "int8"] = "float16"
    """How the numbers of a state are stored; ``int8``: with a scale for each row and depth."""

    facts: PositiveInt = 10_000
    """Events of a user whose facts (item, time, outcome) are kept in the store."""

    slack: NonNegativeInt = 16
    """Rows beyond the window and the live tail, for ties; what does not fit is counted as overflow."""

    hot: PositiveInt = 2 * 1024**3
    """Bytes of the hot arena in this process, in front of the store."""

    budget: PositiveInt = 64 * 1024**3
    """Bytes of states over all users; beyond it the states of the least recently active users are dropped."""

    max_age: NonNegativeInt = 0
    """Steps of the weights after which a state reads as if it were not there; 0: never."""

    max_age_seconds: NonNegativeFloat = 0.0
    """The same in seconds of the stream's time since the row's event; 0: never."""

    ttl: NonNegativeFloat = 0.0
    """Seconds of the stream's time after a user's last event, after which all its states are dropped; 0: never."""

    refresh: NonNegativeInt = 0
    """Rows that each step makes anew with the weights of the day, of its users with the oldest states; 0: none."""

    store_top: bool = False
    """Remember the last layer's states too, for other stages."""

    search: SearchConfig | None = None
    """Search the events before the window; absent: the window is all that a target sees."""

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        kind, mark, place = url.partition("://")
        if mark and kind in ("redis", "rediss", "valkey") and "@" in place:
            # The message does not repeat it, and no run file was written yet.
            raise ValueError(f"{kind}://...@...: {NO_PASSWORD}")
        return url


class TrainConfig(Settings):
    """How the stream is learned from."""

    seed: int = 0
    """Of weights and drawn negatives."""

    passes: PositiveInt = 1
    """Times through the log; memory is cleared in between."""

    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""

    threads: NonNegativeInt = 0
    """Shares of a step, side by side; 0: one for each core. Results are the same bit for bit only at the same count."""

    micro_batch: PositiveInt = 256
    """Most events of a step."""

    first_batch: PositiveInt = 32
    """Most events of the first steps: each is an update, and a young model needs many."""

    updates: PositiveInt = 400
    """A step takes at most one in this many of the events so far: steps grow as the stream does."""

    segment: NonNegativeInt = 0
    """Learn a user's events together once this many are waiting; 0: as they fall."""

    segment_after: PositiveFloat = 3600.0
    """Seconds of stream time after which a waiting segment is learned all the same."""

    live: PositiveInt = 16
    """Most live events of a user in a pass (m_max)."""

    learning_rate: PositiveFloat = 1e-3
    """Of Adam, for all but the table."""

    table_rate: PositiveFloat = 0.05
    """Of row-wise Adagrad, for the table."""

    warmup: NonNegativeInt = 50
    """Steps over which both rates rise."""

    clip: PositiveFloat = 1.0
    """Largest norm of the dense gradient."""

    cut_every: PositiveInt = 500_000
    """Events between cuts."""

    window_events: PositiveInt = 10_000
    """Events of a window of the progressive metrics."""


class FollowConfig(Settings):
    """How a trained run goes on learning from what comes: see ``marm follow``."""

    wait: NonNegativeFloat = 30.0
    """Seconds after an event came in, in which its outcomes may follow; then they are taken as they are."""

    otherwise: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Outcome columns and what they are where nothing was heard in time (``click = 0``); null, not observed, for others."""

    gather: NonNegativeFloat = 30.0
    """Seconds that fewer events than ``train.micro_batch`` wait for more: an update from few is a noisy one."""

    cut_every: PositiveFloat = 60.0
    """Seconds between cuts, if anything was learned."""

    ahead: NonNegativeFloat = 3600.0
    """Seconds by which an event's time may be ahead of the clock; one from the far future would make all others late."""

    ids: PositiveInt = 1_000_000
    """Newest event ids by which an event that comes twice is known."""

    keep: NonNegativeFloat = 30 * 86_400.0
    """Seconds that files of the inbox stay after their last line, once all they hold is in every kept cut; then they go."""


class RunConfig(Settings):
    """A whole run file."""

    data: DataConfig
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    negatives: NegativesConfig = Field(default_factory=NegativesConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    rival: RivalConfig = Field(default_factory=RivalConfig)
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    follow: FollowConfig = Field(default_factory=FollowConfig)
    serve: ServeConfig = Field(default_factory=ServeConfig)
    stages: StagesConfig = Field(default_factory=StagesConfig)

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.train.live > self.memory.window:
            raise ValueError(f"train.live = {self.train.live} is above memory.window = {self.memory.window}")
        if self.train.segment > self.train.live:
            raise ValueError(f"train.segment = {self.train.segment} is above train.live = {self.train.live}")
        needy = [name for name, task in self.tasks.items() if task.every_row]
        if needy and not self.negatives.per_event:
            raise ValueError(f"tasks.{needy[0]}.every_row needs negatives: set negatives.per_event = 4, say")
        if self.model.task_layers and self.memory.store_top:
            raise ValueError("model.task_layers has no one last state: set memory.store_top = false")
        return self

    @model_validator(mode="after")
    def _can_search(self) -> "RunConfig":
        search = self.memory.search
        if search and self.model.kind != "marm":
            raise ValueError(f"memory.search is MARM's, model.kind = {self.model.kind!r}: drop [memory.search]")
        if search and not self.model.layers:
            raise ValueError("memory.search serves attention, model.layers = 0 has none: drop [memory.search]")
        if search and self.memory.refresh:
            raise ValueError("memory.refresh makes states anew without a search: drop it, or [memory.search]")
        categories = [name for name, feature in self.features.item.items() if feature.kind == "category"]
        if search and search.category and search.category not in categories:
            has = ", ".join(categories) or "none"
            raise ValueError(f"memory.search.category = {search.category!r}: no such item category; there is {has}")
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> "RunConfig":
        check_stages(self.stages, self.positive_task, self.tasks, self.model.outcomes, self.depths)
        return self

    @model_validator(mode="after")
    def _rival_fits(self) -> "RunConfig":
        model = self.model
        if model.kind == "marm":
            return self
        if not model.layers:
            raise ValueError(f'model.kind = "{model.kind}" reads histories: set model.layers = 1 or more')
        if self.stages.any or self.memory.store_top:
            raise ValueError(f'model.kind = "{model.kind}" remembers nothing: drop [stages] and memory.store_top')
        if model.kind != "recompute" and (model.task_layers or model.token_shift):
            raise ValueError(f'model.kind = "{model.kind}" has no task_layers and no token_shift: set both to false')
        if model.kind == "recompute" and not model.memory_reads:
            raise ValueError(
                'model.kind = "recompute" with memory_reads = false recomputes nothing: set one of them back'
            )
        if model.kind == "sim_hard" and self.searched_by is None:
            raise ValueError(
                "rival.category: name an item feature that is a category or tags, for sim_hard to search by"
            )
        return self

    @property
    def searched_by(self) -> str | None:
        """The item feature that a search by category goes by; None where there is none."""
        kinds = {name: feature.kind for name, feature in self.features.item.items()}
        named = [self.rival.category] if self.rival.category else list(kinds)
        return next((name for name in named if kinds.get(name) in ("category", "tags")), None)

    @property
    def reach(self) -> int:
        """How many of a user's newest rows a pass reads; a full recompute those that its rows once saw, past ties."""
        if self.model.kind != "recompute":
            return self.memory.window
        return self.memory.window * self.model.layers + self.memory.slack

    @property
    def positive_task(self) -> str:
        """The task whose positives retrieval is about; empty where there is no binary task."""
        named = self.stages.retrieval.positive if self.stages.retrieval else None
        return named or next((name for name, task in self.tasks.items() if task.kind == "binary"), "")

    @property
    def depths(self) -> int:
        """How many depths ranking remembers."""
        return remembered_depths(self.model, self.memory.store_top)

    @property
    def search_keys(self) -> int:
        """Numbers of 64 bits by which a search knows a row: its category, or the signs of each depth that a layer reads."""
        search = self.memory.search
        if not search or search.rule == "dot":
            return 0
        depths = self.model.layers if self.model.memory_reads else 1
        return 1 if search.rule == "category" else depths * search.bits // 64

    @model_validator(mode="after")
    def _can_be_served(self) -> "RunConfig":
        try:
            Formula(self.serve.score or "0", list(self.tasks))
        except ValueError as error:
            raise ValueError(f"serve.score: {error}") from None
        categories = [name for name, feature in self.features.item.items() if feature.kind == "category"]
        for name in self.serve.diversity:
            if name not in categories:
                raise ValueError(
                    f"serve.diversity.{name}: no such item category; there is {', '.join(categories) or 'none'}"
                )
        return self
