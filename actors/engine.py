"""DeepSpeed as an Engine: ZeRO shares the optimiser's state among ranks."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cogaudio_rl.config import ClusterConfig
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
    """One rank of DeepSpeed over torch's AdamW. The process group must be there already.

        zero_stage   0        1          2            3
        sharded      nothing  optimiser  + gradients  + weights, the frozen backbone's too

    Only the LoRA weights train, and PEFT keeps them in float32 whatever the backbone's dtype, so
    DeepSpeed is never asked for mixed precision: gradients add up in float32. The ears are not
    DeepSpeed's: every rank hears its own clips at its own pace.
    """

    def __init__(self, policy: Policy, cluster: ClusterConfig, *, gradient_clip: float) -> None:
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self._stage = cluster.zero_stage
        self._clip = gradient_clip
        self._norm = 0.0
        self._parameters = [p for _, p in policy.trained_parameters()]
        self._engine: Any = _initialise(policy, cluster, gradient_clip)
        # ZeRO wraps torch's optimiser; without it the engine has torch's own.
        self._sharded: Any = self._engine.optimizer if self._stage else None
        self._adam: Any = self._sharded.optimizer if self._stage else self._engine.optimizer
        if not self._stage:
            self._adam.register_step_pre_hook(self._clip_whole_gradient)
        self.reset()

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        return self._engine(batch)

    def accumulate(self, loss: Tensor) -> None:
        # DeepSpeed averages gradients over ranks; ours have to add up.
        self._engine.backward(loss * self.world_size)

    def step(self, learning_rate: float) -> float:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm()) if self._stage else self._norm

    def all_sum(self, values: Sequence[float]) -> list[float]:
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def all_gather(self, items: Sequence[T]) -> list[T]:
        found: list[list[T]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(found, list(items))
        return [item for rank in found for item in rank]

    def whole(
        self, parameters: Sequence[torch.nn.Parameter] | None = None
    ) -> AbstractContextManager[None]:
        if self._stage < 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(
            self._parameters if parameters is None else parameters, modifier_rank=0
        )

    def reset(self) -> None:
        self._adam.state.clear()
        if self._stage:
            # ZeRO updates its own copy of the weights and would write the old ones back.
            self._sharded.refresh_fp32_params()
            self._sharded.zero_grad()
        else:
            self._adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        if self._stage == 3:
            # Between steps its torch optimiser holds no parameter that state could be told by.
            return {"shards": [self._adam.state[shard] for shard in self._shards()]}
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._stage == 3:
            for shard, values in zip(self._shards(), state["shards"], strict=True):
                self._adam.state[shard] = values
        else:
            self._adam.load_state_dict(state)

    def _shards(self) -> list[Tensor]:
        return self._sharded.fp32_partitioned_groups_flat

    def _clip_whole_gradient(self, *_: Any) -> None:
        """Stage 0: the gradient is summed over ranks when torch's optimiser is about to step."""
        self._norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._clip))


class _Trained(torch.nn.Module):
    """What DeepSpeed sees of a policy: the language model with its LoRA, and not the ears."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        inner = policy.inner()
        self.model, self.lm_head = inner.model, inner.lm_head
        self._forward = policy.forward  # a bound method: the rest of the policy stays outside

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        return self._forward(batch)


def _initialise(policy: Policy, cluster: ClusterConfig, gradient_clip: float) -> Any:
    if torch.cuda.is_available():
        policy.to("cuda")
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # DeepSpeed would compile a shared-memory collective with g++ for half a minute; gloo will do.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    adam = {"lr": 0.0, "betas": ADAM_BETAS, "eps": ADAM_EPS, "weight_decay": 0.0}
    initialize: Any = deepspeed.initialize  # its annotations are narrower than what it takes
    engine, *_ = initialize(
        model=_Trained(policy),
        model_parameters=[p for _, p in policy.trained_parameters()],
        config={
            "train_micro_batch_size_per_gpu": 1,  # a required number that nothing here depends on
            # The caller decides how many backward passes make a step.
            "managed_gradient_accumulation": False,
            # Stage 0 clips without telling the norm; the engine above does it there.
            "gradient_clipping": gradient_clip if cluster.zero_stage else 0.0,
            "zero_optimization": {"stage": cluster.zero_stage},
            "optimizer": {"type": "AdamW", "params": adam | {"torch_adam": True}},
            "steps_per_print": 2**31,
        },
    )
    return engine
