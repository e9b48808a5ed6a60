"""vLLM's weight transfer through a TCP store: all of the NCCL path's code, without a GPU."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import actors.rollout
import actors.sender
from actors.learner import LearnerWorker
from actors.rollout import RolloutWorker
from cogaudio_rl.config import Config

STORE = "store"


def register() -> None:
    """Put the backend into vLLM's registries, and in the place of NCCL here; once in a process."""
    from dataclasses import dataclass

    from vllm.distributed.utils import StatelessProcessGroup
    from vllm.distributed.weight_transfer import nccl_engine as nccl
    from vllm.distributed.weight_transfer.factory import (
        WeightTransferEngineFactory,
        WeightTransferTrainerFactory,
    )
    from vllm.distributed.weight_transfer.nccl_common import worker_init_payload

    def join(info: Any, rank: int) -> Any:
        return StatelessProcessGroup.create(
            host=info.master_address, port=info.master_port, rank=rank, world_size=info.world_size
        )

    @dataclass
    class StoreInitInfo(nccl.NCCLTrainerInitInfo):
        backend: ClassVar[str] = STORE

    class Receiving(nccl.NCCLWeightTransferEngine):
        _group: Any

        def init_transfer_engine(self, init_info: Any) -> None:
            self._group = join(init_info, init_info.rank_offset + self.parallel_config.rank)

        def update_weights(self, update_info: dict[str, Any]) -> None:
            for name in update_info["names"]:
                model: Any = self.model
                model.load_weights([(name, self._group.broadcast_obj(None, src=0))])

    class Sending(nccl.NCCLTrainerWeightTransferEngine):
        @classmethod
        def trainer_init(cls, init_info: Any, *, client: Any, source: Any = None) -> Self:
            engine = cls(client=client, source=source, is_sender=init_info.is_sender, packed=False)
            if engine.is_sender:
                info = nccl.NCCLWeightTransferInitInfo(
                    master_address=init_info.master_address, master_port=init_info.master_port,
                    rank_offset=1, world_size=init_info.world_size,
                )  # fmt: skip
                with nccl.ThreadPoolExecutor(1) as pool:
                    met = pool.submit(client.init_weight_transfer_engine, worker_init_payload(info))
                    engine.model_update_group = join(init_info, 0)
                    met.result()
            return engine

        def _broadcast(self, source: Any, meta: Any) -> None:
            pairs = self._checked_iter(source, meta) if self.is_sender else source
            for _name, tensor in pairs:
                group: Any = self.model_update_group
                if group is not None:
                    group.broadcast_obj(tensor, src=0)

    WeightTransferEngineFactory.register_engine(STORE, Receiving)
    WeightTransferTrainerFactory.register_engine(STORE, Sending)
    actors.sender.NCCLTrainerInitInfo = StoreInitInfo
    actors.rollout.BACKEND = STORE
    actors.rollout._receives = lambda _config: True


class StoreRolloutWorker(RolloutWorker):
    def __init__(self, config: Config) -> None:
        register()
        super().__init__(config)


class StoreLearnerWorker(LearnerWorker):
    def __init__(self, config: Config, rank: int, world_size: int) -> None:
        register()
        super().__init__(config, rank, world_size)
