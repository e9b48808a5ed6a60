"""DeepSpeed as an Engine: ZeRO shares the optimiser's state among ranks."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cogaudio_rl.config import ClusterConfig
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.models.engine import ADAM_BETAS, ADAM_EPS, T
from cogaudio_rl.models.policy import PackedBatch, Policy


def join_process_group(master: str, *, rank: int, world_size: int, timeout_s: float) -> None:
    """Make torch's process group for a plain actor; ``master`` is rank 0's ``host:port``.

    Every collective that takes longer than ``timeout_s`` ends in an error and not in a hang.
    """
    # Ray shows an actor its own GPU alone, so to DeepSpeed it is always the first.
    os.environ["LOCAL_RANK"] = "0"
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=f"tcp://{master}",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout_s),
    )


class DeepSpeedEngine:
    """One rank of ZeRO stage 1 or 2 over torch's AdamW. The process group must be there already.

    Only the LoRA weights train, and PEFT keeps them in float32 whatever the backbone's dtype, so
    DeepSpeed is never asked for mixed precision: gradients add up in float32. Raises ConfigError for
    another stage: 0 shards nothing, and 3 would shard the frozen backbone, which every rank hears
    through at its own pace.
    """

    def __init__(self, policy: Policy, cluster: ClusterConfig, *, gradient_clip: float) -> None:
        if cluster.zero_stage not in (1, 2):
            raise ConfigError(
                f"cluster.zero_stage must be 1 or 2 to train LoRA, got {cluster.zero_stage}"
            )
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self._engine: Any = _initialise(policy, cluster, gradient_clip)
        self._sharded: Any = self._engine.optimizer
        self.reset()

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        return self._engine(batch)

    def accumulate(self, loss: Tensor) -> None:
        # DeepSpeed averages gradients over ranks; ours have to add up.
        self._engine.backward(loss * self.world_size)

    def step(self, learning_rate: float) -> float:
        for group in self._sharded.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def all_sum(self, values: Sequence[float]) -> list[float]:
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def all_gather(self, items: Sequence[T]) -> list[T]:
        found: list[list[T]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(found, list(items))
        return [item for rank in found for item in rank]

    def reset(self) -> None:
        # ZeRO updates its own copy of the weights and would write the old ones back.
        self._sharded.refresh_fp32_params()
        self._sharded.zero_grad()
        self._sharded.optimizer.state.clear()

    def state_dict(self) -> dict[str, Any]:
        return self._sharded.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sharded.optimizer.load_state_dict(state)


def _initialise(policy: Policy, cluster: ClusterConfig, gradient_clip: float) -> Any:
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # DeepSpeed would compile a shared-memory collective with g++ for half a minute; gloo will do.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    adam = {"lr": 0.0, "betas": ADAM_BETAS, "eps": ADAM_EPS, "weight_decay": 0.0}
    initialize: Any = deepspeed.initialize  # its annotations are narrower than what it takes
    engine, *_ = initialize(
        model=policy,
        model_parameters=[p for _, p in policy.lora_parameters()],
        config={
            "train_micro_batch_size_per_gpu": 1,  # a required number that nothing here depends on
            # The caller decides how many backward passes make a step.
            "managed_gradient_accumulation": False,
            "gradient_clipping": gradient_clip,
            "zero_optimization": {"stage": cluster.zero_stage},
            "optimizer": {"type": "AdamW", "params": adam | {"torch_adam": True}},
            "steps_per_print": 2**31,
        },
    )
    return engine
