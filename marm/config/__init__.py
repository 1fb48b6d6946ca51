"""Every setting, with its type, default and reason; a run file is these and nothing else."""

from marm.config.data import (
    MOST_CODES,
    DataConfig,
    FeatureConfig,
    FeaturesConfig,
    NegativesConfig,
    SideFile,
    TaskConfig,
)
from marm.config.formula import Formula, order_by
from marm.config.kafka import KafkaConfig, Topic, is_topic, topic_of
from marm.config.load import load_run, set_values, to_toml
from marm.config.memory import MemoryConfig
from marm.config.model import ModelConfig, remembered_depths
from marm.config.rivals import RivalConfig
from marm.config.search import SearchConfig
from marm.config.serving import ServeConfig
from marm.config.settings import RunConfig
from marm.config.stages import CascadingConfig, RetrievalConfig, StagesConfig
from marm.config.training import TrainConfig

__all__ = [
    "MOST_CODES",
    "CascadingConfig",
    "DataConfig",
    "FeatureConfig",
    "FeaturesConfig",
    "Formula",
    "KafkaConfig",
    "MemoryConfig",
    "ModelConfig",
    "NegativesConfig",
    "RetrievalConfig",
    "RivalConfig",
    "RunConfig",
    "SearchConfig",
    "ServeConfig",
    "SideFile",
    "StagesConfig",
    "TaskConfig",
    "Topic",
    "TrainConfig",
    "is_topic",
    "load_run",
    "order_by",
    "remembered_depths",
    "set_values",
    "to_toml",
    "topic_of",
]
