"""The learners' side of vLLM's own weight transfer: from GPU to GPU, nothing through the host.

rank 0 ──NCCL broadcast──► every GPU of every engine
the other ranks join in gathering what ZeRO-3 has cut up
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
from vllm.distributed.weight_transfer.clients import RayVLLMWeightSyncClient
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from cogaudio_rl.models.engine import Engine
from cogaudio_rl.models.policy import Policy


class TrainedWeights(WeightSource):
    """What trains, tensor by tensor, in the engines' type and under the names a checkpoint stores."""

    def __init__(
        self, policy: Policy, engine: Engine, *, dtype: torch.dtype, stored_prefix: str
    ) -> None:
        self._engine, self._dtype = engine, dtype
        self._named = [(stored_prefix + n, p) for n, p in policy.trained_parameters()]

    def metadata(self) -> list[ParamMeta]:
        # Where ZeRO-3 has cut a parameter up, it says itself how large it was.
        return [
            ParamMeta(name, self._dtype, tuple(getattr(p, "ds_shape", p.shape)))
            for name, p in self._named
        ]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._named:
            with self._engine.whole([parameter]):
                # A copy: what is gathered is gone with the block, and may be sent after it.
                whole = parameter.detach().to(self._dtype, copy=True)
            yield name, whole

    @property
    def num_bytes(self) -> int:
        width = torch.empty(0, dtype=self._dtype).element_size()
        return sum(width * torch.Size(m.shape).numel() for m in self.metadata())


class Receivers(RayVLLMWeightSyncClient):
    """The engines, as the sender sees them: each has ranks of its own, and all get one version."""

    version = 0

    def __init__(self, handles: Sequence[Any], *, gpus_per_engine: int) -> None:
        super().__init__(list(handles))
        self._gpus = gpus_per_engine

    @property
    def world_size(self) -> int:
        """With the sender."""
        return 1 + len(self.handles) * self._gpus

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        import ray

        first = init_info["rank_offset"]
        ray.get(
            [
                handle.init_weight_transfer_engine.remote(
                    {"init_info": init_info | {"rank_offset": first + i * self._gpus}}
                )
                for i, handle in enumerate(self.handles)
            ]
        )

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        super().finish_weight_update(weight_version or str(self.version))


class WeightSender:
    """One learner rank's part; rank 0 sends. Every rank must make the same calls."""

    def __init__(
        self, source: TrainedWeights, receivers: Receivers, *, rank: int, master: str
    ) -> None:
        """Meets the engines at ``master`` (rank 0's ``host:port``); blocks until all have come."""
        host, _, port = master.rpartition(":")
        self._source, self._receivers = source, receivers
        self._trainer = WeightTransferTrainerFactory.trainer_init(
            NCCLTrainerInitInfo(
                rank=rank,
                master_address=host,
                master_port=int(port),
                world_size=receivers.world_size,
            ),
            client=receivers,
            source=source,
        )

    def send(self, version: int) -> int:
        """Every engine answers with this version when it returns; the number of bytes sent."""
        self._receivers.version = version
        self._trainer.send_weights()
        return self._source.num_bytes
