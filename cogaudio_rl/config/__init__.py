"""Recipes: frozen pydantic models, a YAML file, dotted overrides, and one resolved config on disk."""

from cogaudio_rl.config.base import Positive, Rate, Share, Strict
from cogaudio_rl.config.cluster import ClusterConfig
from cogaudio_rl.config.data import DataConfig, MixturePart
from cogaudio_rl.config.evaluation import (
    OWN_MODELS,
    BaselineConfig,
    CorpusConfig,
    EvalConfig,
    SuitesConfig,
)
from cogaudio_rl.config.judge import EndpointConfig, JudgeConfig, TrialConfig
from cogaudio_rl.config.model import LoraConfig, ModelConfig
from cogaudio_rl.config.reading import (
    dump_config,
    load_config,
    override,
    parse,
    parse_config,
    read_recipe,
    recipe_names,
)
from cogaudio_rl.config.recipe import Config
from cogaudio_rl.config.rl import (
    OBJECTIVE_FLOATS,
    AlarmConfig,
    ObjectiveConfig,
    ReadinessConfig,
    RewardConfig,
    RlConfig,
    RouteScale,
    VotesRewardConfig,
)
from cogaudio_rl.config.serve import ServeConfig
from cogaudio_rl.config.sft import ROUTES, SftConfig, SftStageConfig

__all__ = [
    "OBJECTIVE_FLOATS",
    "OWN_MODELS",
    "ROUTES",
    "AlarmConfig",
    "BaselineConfig",
    "ClusterConfig",
    "Config",
    "CorpusConfig",
    "DataConfig",
    "EndpointConfig",
    "EvalConfig",
    "JudgeConfig",
    "LoraConfig",
    "MixturePart",
    "ModelConfig",
    "ObjectiveConfig",
    "Positive",
    "Rate",
    "ReadinessConfig",
    "RewardConfig",
    "RlConfig",
    "RouteScale",
    "ServeConfig",
    "SftConfig",
    "SftStageConfig",
    "Share",
    "Strict",
    "SuitesConfig",
    "TrialConfig",
    "VotesRewardConfig",
    "dump_config",
    "load_config",
    "override",
    "parse",
    "parse_config",
    "read_recipe",
    "recipe_names",
]
