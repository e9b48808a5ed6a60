"""A language model that trains whole goes to GPU engines by vLLM's own weight transfer.

    learners (actors/sender.py) ──NCCL──► engines (Receiver, part of every rollout actor)

Here are the engines' side and the driver's; neither imports vLLM. Where there is no GPU, and with LoRA,
what was trained passes through the object store instead (:func:`cogaudio_rl.ports.by_value`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from actors.learner import LearnerGroup
from actors.pools import SamplerPool
from cogaudio_rl.ports import Learner, Sampler

T = TypeVar("T")

BACKEND = "nccl"
_RECEIVING_POLL_S = 0.002


class Receiver:
    """An engine's side: vLLM's calls, made in the engine's own thread, and no step in between.

    While it receives, its weights are neither the old ones nor the new.
    """

    _llm: Any
    _receiving = False

    def _do(self, work: Callable[[], T]) -> T:
        """In the engine's thread."""
        raise NotImplementedError

    def _answers_with(self, version: int) -> None:
        """Its weights are these now."""
        raise NotImplementedError

    def init_weight_transfer_engine(self, request: Any) -> None:
        self._do(lambda: self._llm.init_weight_transfer_engine(request))

    def start_weight_update(self) -> None:
        self._do(self._begin_receiving)

    def update_weights(self, request: Any) -> None:
        self._do(lambda: self._llm.update_weights(request))

    def finish_weight_update(self) -> None:
        self._do(self._llm.finish_weight_update)

    def update_weight_version(self, version: str) -> None:
        self._do(lambda: self._end_receiving(int(version)))

    def _begin_receiving(self) -> None:
        self._receiving = True
        self._llm.start_weight_update()

    def _end_receiving(self, version: int) -> None:
        self._answers_with(version)
        self._receiving = False

    def _wait_while_receiving(self) -> bool:
        """Give the engine's thread back for a moment; True while no step may be made."""
        if self._receiving:
            time.sleep(_RECEIVING_POLL_S)
        return self._receiving


class Transfer:
    """The HandOver port: the learners send, the engines receive, nothing passes the driver."""

    def __init__(self, learners: LearnerGroup, samplers: SamplerPool) -> None:
        self._learners, self._samplers = learners, samplers
        self._met: tuple[int, int] | None = None

    async def __call__(self, learner: Learner, sampler: Sampler) -> tuple[int, int]:
        """See :class:`cogaudio_rl.ports.HandOver`. Who is new has to be met first."""
        alive = (self._learners.restarts, self._samplers.replaced)
        if alive != self._met:
            await self._learners.open_transfer(self._samplers.handles())
            self._met = alive
        version, size = await self._learners.send_weights()
        self._samplers.holds(self._learners.adapter)
        return version, size
