"""A whole run file, and what its sections must agree on."""

from pydantic import Field, model_validator

from marm.config.base import Settings
from marm.config.data import DataConfig, FeaturesConfig, NegativesConfig, TaskConfig, check_outcomes
from marm.config.formula import Formula
from marm.config.kafka import KafkaConfig, is_topic, topic_of
from marm.config.memory import REMOTE, MemoryConfig
from marm.config.model import ModelConfig, remembered_depths
from marm.config.rivals import RivalConfig
from marm.config.serving import ServeConfig
from marm.config.stages import StagesConfig, check_stages
from marm.config.training import FollowConfig, TrainConfig

MOST_IDS = 6
"""Kinds of id that a layer compares: each outcome takes 2 to this power places."""


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
    kafka: KafkaConfig = Field(default_factory=KafkaConfig)
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
        categories = [name for name, feature in self.features.item.items() if feature.kind == "category"]
        if search and search.category and search.category not in categories:
            has = ", ".join(categories) or "none"
            raise ValueError(f"memory.search.category = {search.category!r}: no such item category; there is {has}")
        return self

    @model_validator(mode="after")
    def _keys_fit(self) -> "RunConfig":
        if self.memory.keys == "item" and (self.memory.search or self.stages.any or self.model.kind != "marm"):
            raise ValueError('memory.keys = "item" serves MARM alone: drop [memory.search], [stages] and model.kind')
        return self

    @model_validator(mode="after")
    def _outcomes_fit(self) -> "RunConfig":
        if self.model.outcomes:
            check_outcomes(self.tasks)
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

    @model_validator(mode="after")
    def _ids_compared(self) -> "RunConfig":
        if self.model.equal_ids and self.model.kind not in ("marm", "recompute"):
            raise ValueError(f'model.kind = "{self.model.kind}" compares no ids: set model.equal_ids = false')
        if self.compared_ids > MOST_IDS:
            raise ValueError(
                f"model.equal_ids compares the item's id and its categories, {self.compared_ids} here, at most {MOST_IDS}: "
                "give fewer features.item of kind category"
            )
        return self

    @property
    def compared_ids(self) -> int:
        """Kinds of id that a layer compares: the item's own, and each of its categories; 0 where it compares none."""
        kinds = [feature.kind for feature in self.features.item.values()]
        return (1 + kinds.count("category")) * self.model.equal_ids

    @model_validator(mode="after")
    def _topics_are_named(self) -> "RunConfig":
        named = (("data.log", self.data.log), ("follow.log", self.follow.log), ("serve.topic", self.serve.topic))
        for setting, url in named:
            if isinstance(url, str) and (is_topic(url) or setting == "serve.topic"):
                topic_of(setting, url)
        return self

    @property
    def followed(self) -> str | None:
        """What ``marm follow`` reads: a topic, files, or None for the inbox."""
        return self.follow.log or (
            self.data.log if isinstance(self.data.log, str) and is_topic(self.data.log) else None
        )

    @property
    def served_topic(self) -> str | None:
        """The topic that served events go to; None where they stay in the inbox."""
        return self.serve.topic or (self.followed if is_topic(self.followed) else None)

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
    def attending(self) -> int:
        """How many layers attend: the last stands there once for each task where ``model.task_layers`` is set."""
        return self.model.layers + (len(self.tasks) - 1) * (self.model.task_layers and self.model.layers > 0)

    @property
    def search_keys(self) -> int:
        """Numbers of 64 bits by which a search knows a row: its category, or the signs of each depth that a layer reads."""
        search = self.memory.search
        if not search or search.rule == "dot":
            return 0
        depths = self.model.layers if self.model.memory_reads else 1
        return 1 if search.rule == "category" else depths * search.bits // 64

    @model_validator(mode="after")
    def _nothing_nearer(self) -> "RunConfig":
        if self.serve.near and self.memory.url.partition("://")[0] not in REMOTE:
            raise ValueError(
                f'serve.near = {self.serve.near} keeps rows of redis://, memory.url = "{self.memory.url}": set it to 0'
            )
        return self

    @model_validator(mode="after")
    def _can_be_served(self) -> "RunConfig":
        if (self.serve.tls_certificate is None) != (self.serve.tls_key is None):
            raise ValueError("serve.tls_certificate and serve.tls_key: set both, or none")
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
