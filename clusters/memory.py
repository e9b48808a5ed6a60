"""How much memory each role will need: an estimate from the config, before anything starts.

Weights, LoRA, gradients, Adam states and the KV cache are counted exactly; activations follow a
rough formula, stated in :func:`learner_memory`. Host memory of a process is what Python with torch
and transformers was seen to take.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clusters.layout import Role
from clusters.model_size import ModelSize, model_size
from cogaudio_rl.config import Config
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.policy import CACHED_CLIPS
from cogaudio_rl.rewards.judge_checkpoint import read_judge_config

GIB = 2**30
_BYTES = {"float32": 4, "bfloat16": 2}
_PROCESS_GIB = 0.3
_ENGINE_GIB = 1.5
_CPU_KV_GIB = 1.0
_CLIP_TOKENS = 100
"""Audio tokens of a clip of 4 s, at 25 a second: the length assumed for the cache of clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMemory:
    """What one process of a role needs, part by part, in GiB."""

    role: Role
    parts: dict[str, float]
    on_gpu: bool
    limit_gib: float = 0.0
    """What its share of a GPU holds; 0 where it is not known."""

    @property
    def total_gib(self) -> float:
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        return self.limit_gib == 0 or self.total_gib <= self.limit_gib


def estimate(config: Config) -> list[RoleMemory]:
    """One entry per role; empty when the size of the backbone is not known."""
    size = model_size(config.model.path)
    if size is None:
        return []
    driver = RoleMemory(role=Role.DRIVER, parts={"process": 2 * _PROCESS_GIB}, on_gpu=False)
    roles = [driver, learner_memory(config, size), rollout_memory(config, size)]
    return [*roles, judge_memory(config)]


def learner_memory(config: Config, size: ModelSize) -> RoleMemory:
    """One DeepSpeed rank.

    What trains, LoRA or the whole language model, is kept in float32, and so are its gradients and
    Adam's two states; ZeRO adds a copy of its own. What is frozen has the model's type and is whole
    on every rank below ZeRO-3. Activations, kept for the backward pass
    without recomputation: per token and block 12 x hidden + 4 x intermediate numbers. Logits: per
    token (all could be spoken) and word one number in the model's type and two in float32.
    """
    model, cluster, text = config.model, config.cluster, size.text
    width, ranks = _BYTES[model.dtype], cluster.learner_workers
    trained = text.lora_parameters(model.lora.r) if model.lora else text.parameters
    frozen = text.parameters if model.lora else 0
    # A sequence longer than the budget still makes a pass of its own.
    tokens = max(
        *(config.sft.micro_batch_tokens, config.rl.micro_batch_tokens, cluster.max_model_len)
    )
    block = 12 * text.hidden + 4 * text.intermediate
    stage = cluster.zero_stage
    states = 8 if stage == 0 else 12
    parts = {
        "weights": _share(width * frozen + 4 * trained, ranks, stage >= 3),
        "ears": width * (size.learner_parameters - text.parameters),
        "gradients": _share(4 * trained, ranks, stage >= 2),
        "Adam": _share(states * trained, ranks, stage >= 1),
        "activations": width * tokens * text.layers * block,
        "logits": (width + 8) * tokens * text.vocab,
    }
    if size.audio is not None:
        parts["heard clips"] = width * _heard_clips(config) * _CLIP_TOKENS * text.hidden
    return _role(Role.LEARNER, parts, cluster.gpus_per_learner, cluster.gpu_memory_gib)


def rollout_memory(config: Config, size: ModelSize) -> RoleMemory:
    """One GPU of a vLLM engine: its share of the weights and of a full KV cache.

    The cache counted is the one that ``max_num_seqs`` sequences of ``max_model_len`` fill. vLLM
    itself takes all of ``gpu_memory_utilization`` and waits with what does not fit.
    """
    cluster, text = config.cluster, size.text
    width, slices = _BYTES[config.model.dtype], cluster.tensor_parallel
    kept = 2 * text.layers * text.kv_heads * text.head_dim * width
    parts = {
        "weights": width * size.sampler_parameters / slices,
        "KV cache": kept * cluster.max_num_seqs * cluster.max_model_len / slices,
    }
    if cluster.gpus_per_rollout == 0:
        parts["KV cache"] = _CPU_KV_GIB * GIB
    limit = cluster.gpu_memory_gib * cluster.gpu_memory_utilization
    share = cluster.gpus_per_rollout / slices
    return _role(Role.ROLLOUT, parts, share, limit, process_gib=_ENGINE_GIB)


def judge_memory(config: Config) -> RoleMemory:
    """A judge's process, or one GPU of the vLLM engine it is.

    Weights count as they lie on disk, and the cache that ``judge.concurrency`` questions of
    ``judge.max_model_len`` fill; of a checkpoint that is not here only the process is known.
    """
    engine, cluster = config.judge.engine, config.cluster
    if engine is None:
        return RoleMemory(role=Role.JUDGE, parts={"process": _PROCESS_GIB}, on_gpu=False)
    gpus = cluster.gpus_per_judge
    slices, folder = max(1, int(gpus)), Path(engine.model)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    width = _BYTES["float32" if engine.dtype == "float32" else "bfloat16"]
    cache = width * _cached_numbers(folder) * engine.concurrency * engine.max_model_len
    parts = {
        "weights": weights / slices,
        "KV cache": cache / slices if gpus else _CPU_KV_GIB * GIB,
    }
    limit = cluster.gpu_memory_gib * cluster.gpu_memory_utilization
    return _role(Role.JUDGE, parts, gpus / slices, limit, process_gib=_ENGINE_GIB)


def _cached_numbers(folder: Path) -> int:
    """Keys and values of one token; 0 where the checkpoint does not tell in the usual words."""
    try:
        config = read_judge_config(folder)
        text = config.get("thinker_config", config)
        text = text.get("text_config", text)
        heads = text["num_attention_heads"]
        head_dim = text.get("head_dim") or text["hidden_size"] // heads
        kept_heads = text.get("num_key_value_heads") or heads
        return 2 * text["num_hidden_layers"] * kept_heads * head_dim
    except (CheckpointError, KeyError, TypeError):
        return 0


def _heard_clips(config: Config) -> int:
    """The policy keeps what its frozen ears made of this many clips."""
    if not config.data.is_spoken_here:
        return CACHED_CLIPS
    return min(CACHED_CLIPS, config.data.train_utterances + config.data.rl_utterances)


def _share(size: float, ranks: int, sharded: bool) -> float:
    return size / ranks if sharded else size


def _role(
    role: Role,
    parts_bytes: dict[str, float],
    gpus: float,
    gpu_gib: float,
    process_gib: float = _PROCESS_GIB,
) -> RoleMemory:
    parts = {name: size / GIB for name, size in parts_bytes.items()}
    if gpus == 0:
        return RoleMemory(role=role, parts=parts | {"process": process_gib}, on_gpu=False)
    return RoleMemory(role=role, parts=parts, on_gpu=True, limit_gib=gpu_gib * min(1.0, gpus))
