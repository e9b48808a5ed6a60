"""Where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from cogaudio_rl.config.base import Positive, Share, Strict

_NAME = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
LabelKey = Annotated[str, Field(pattern=rf"^([a-z0-9.-]+/)?{_NAME}$")]
LabelSelector = Annotated[str, Field(pattern=rf"^!?({_NAME}|in\({_NAME}(, ?{_NAME})*\))$")]
"""Labels and what may be asked of them, as Ray and Kubernetes spell them."""


class ClusterConfig(Strict):
    """Who runs where."""

    backend: Literal["ray", "local"] = "ray"
    """``local`` runs the same loops in one process, without Ray, vLLM or DeepSpeed."""
    address: str | None = None
    """A running Ray cluster; none starts one on this machine, or joins that of the Ray job it is in."""
    node_labels: Mapping[
        Literal["learner", "rollout", "judge"], Mapping[LabelKey, LabelSelector]
    ] = {}
    """Which nodes a role may use, by Ray's node labels: ``{rollout: {cogaudio-role: rollout}}``. A
    value may also be ``!a``, ``in(a, b)`` or ``!in(a, b)``. A role not named here runs anywhere."""
    rollout_workers: Positive = 1
    judge_workers: Positive = 1
    learner_workers: Positive = 2
    cpus_per_rollout: Annotated[float, Field(gt=0)] = 1.0
    cpus_per_judge: Annotated[float, Field(gt=0)] = 0.25
    cpus_per_learner: Annotated[float, Field(gt=0)] = 0.5
    gpus_per_rollout: Annotated[float, Field(ge=0)] = 0.0
    gpus_per_learner: Annotated[float, Field(ge=0)] = 0.0
    gpus_per_judge: Annotated[float, Field(ge=0)] = 0.0
    """For ``judge.kind=vllm``; above 1 a whole number, over which its engine is split."""
    tensor_parallel: Positive = 1
    merge_adapter: bool | None = None
    """Fold each published adapter into vLLM's weights instead of running its LoRA kernels beside them.
    None: where there is no GPU, for those kernels are slow there. A bfloat16 backbone rounds small
    changes away when they are folded in; its canary says so. Without LoRA there is nothing to merge."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    threads_per_learner: Positive = 1
    threads_per_rollout: Positive = 2
    threads_per_judge: Positive = 1
    max_num_seqs: Positive = 64
    max_model_len: Positive = 512
    max_clips: Positive = 1
    """Most clips of one prompt, as vLLM reserves them. Dialogues are heard turn by turn; an evaluation
    that asks about them raises it to what they need."""
    gpu_memory_utilization: Share = 0.85
    nodes: Positive = 1
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    gpu_memory_gib: Annotated[float, Field(ge=0)] = 0.0
    start_timeout_s: Annotated[float, Field(gt=0)] = 180.0
    step_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest wait for any one answer; with ``rl.max_staleness`` it includes standing in line behind
    the rollouts that are under way."""
