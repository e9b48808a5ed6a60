"""The learner on Ray: one DeepSpeed rank in each actor, and the driver's handle to all of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.crew import Spawn, gather
from actors.describe import report_in
from cogaudio_rl.config import Config
from cogaudio_rl.errors import InputError, WorkerDied
from cogaudio_rl.types import Adapter, Group, Prompt, Rollout, Sample, Update

_DEATH_IS_KNOWN_AFTER_S = 10.0


class LearnerWorker:
    """One rank. Construct all, ask rank 0 for its address, then connect all at once."""

    def __init__(self, config: Config, rank: int, world_size: int) -> None:
        import torch

        from cogaudio_rl.models.policy import Policy

        report_in("learner")
        torch.set_num_threads(config.cluster.threads_per_learner)
        torch.manual_seed(config.seed)  # every rank draws the same LoRA
        self._config, self._rank, self._world_size = config, rank, world_size
        self._policy = Policy.load(config.model)
        self._learner: Any = None
        self._sender: Any = None

    def address(self) -> str:
        """``host:port`` for the process group; loopback when all ranks are on one machine."""
        import ray

        one_node = self._config.cluster.nodes == 1
        host = "127.0.0.1" if one_node else ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind((host, 0))
            return f"{host}:{probe.getsockname()[1]}"

    def connect(self, master: str) -> None:
        """Join the other ranks and shard the optimiser; blocks until all have come."""
        from actors.engine import DeepSpeedEngine, join_process_group
        from cogaudio_rl.models.learner import PolicyLearner

        cluster = self._config.cluster
        join_process_group(
            master, rank=self._rank, world_size=self._world_size, timeout_s=cluster.step_timeout_s
        )
        engine = DeepSpeedEngine(self._policy, cluster, gradient_clip=self._config.rl.gradient_clip)
        self._learner = PolicyLearner(self._policy, engine, self._config)

    def update(self, samples: Sequence[Sample]) -> Update:
        """This rank's part of one update; every rank must be called with the same samples."""
        metrics = self._learner.update(samples)
        return Update(policy_version=self._learner.version, metrics=metrics)

    def adapter(self) -> Adapter | None:
        """The first rank's answer; the others only take part, as sharded weights need."""
        adapter = self._learner.adapter()
        return adapter if self._rank == 0 else None

    def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]] | None:
        rows = self._learner.logprobs(groups_P)
        return rows if self._rank == 0 else None

    def references(self, prompts_P: Sequence[Prompt]) -> list[Rollout] | None:
        found = self._learner.references(prompts_P)
        return found if self._rank == 0 else None

    def open_transfer(self, engines: Sequence[Any], master: str) -> None:
        """Meet the engines that will be sent the weights; blocks until all ranks and they have come."""
        import torch

        from actors.sender import Receivers, TrainedWeights, WeightSender
        from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint

        model = self._config.model
        source = TrainedWeights(
            self._policy,
            self._learner.engine,
            dtype=getattr(torch, model.dtype),
            stored_prefix=Architecture.of(
                resolve_checkpoint(model.path), name=model.path
            ).stored_prefix,
        )
        receivers = Receivers(engines, gpus_per_engine=self._config.cluster.tensor_parallel)
        self._sender = WeightSender(source, receivers, rank=self._rank, master=master)

    def send_weights(self) -> tuple[int, int]:
        """The version that every engine now answers with, and the bytes sent to each."""
        version = self._learner.version
        return version, self._sender.send(version)

    def save(self, folder: Path) -> None:
        self._learner.save(folder)

    def load(self, folder: Path) -> None:
        self._learner.load(folder)

    def begin(self, folder: Path) -> None:
        self._learner.begin(folder)


class LearnerGroup:
    """The Learner port over all ranks' actors, which join one process group on first use.

    Every call raises WaitTimeout when it takes too long, and WorkerDied when a rank died; all must
    then :meth:`restart` and load a checkpoint.
    """

    def __init__(self, config: Config, spawners: Sequence[Spawn]) -> None:
        self._spawners = list(spawners)
        self._ranks = [spawn() for spawn in spawners]
        self._cluster = config.cluster
        self._connected = False
        self.restarts = 0

    async def restart(self) -> None:
        """Fresh processes in the place of all ranks: those left wait for the dead one for ever."""
        import ray

        for rank in self._ranks:
            ray.kill(rank, no_restart=True)
        self._ranks = [spawn() for spawn in self._spawners]
        self._connected = False
        self.restarts += 1

    async def open_transfer(self, engines: Sequence[Any]) -> None:
        """Let all ranks meet these rollout actors."""
        await self._connect()
        limit = self._cluster.start_timeout_s
        (master,) = await gather([self._ranks[0].address.remote()], limit, "the first learner")
        calls = [rank.open_transfer.remote(list(engines), master) for rank in self._ranks]
        await self._together(calls, limit, "learners and engines to find each other")

    async def send_weights(self) -> tuple[int, int]:
        """All weights that train, to every engine met: (version, bytes)."""
        return (await self._all("the learners to send their weights", "send_weights"))[0]

    async def update(self, samples: Sequence[Sample]) -> Update:
        import ray

        shared = ray.put(list(samples))
        updates = await self._all("the learners to update", "update", shared)
        return updates[0]

    async def adapter(self) -> Adapter:
        return (await self._all("the learner's adapter", "adapter"))[0]

    async def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        return (await self._all("the learner's log-probs", "logprobs", list(groups_P)))[0]

    async def references(self, prompts_P: Sequence[Prompt]) -> list[Rollout]:
        return (await self._all("what was written", "references", list(prompts_P)))[0]

    async def save(self, folder: Path) -> None:
        await self._all("the learners to save", "save", folder.absolute())

    async def load(self, folder: Path) -> None:
        await self._all("the learners to load", "load", folder.absolute())

    async def begin(self, folder: Path) -> None:
        await self._all("the learners to begin", "begin", folder.absolute())

    async def _all(self, what: str, method: str, *args: Any) -> list[Any]:
        await self._connect()
        calls = [getattr(rank, method).remote(*args) for rank in self._ranks]
        return await self._together(calls, self._cluster.step_timeout_s, what)

    async def _together(self, calls: Sequence[Any], limit: float, what: str) -> list[Any]:
        """All ranks' answers. When one rank dies, the others fail in their collective: the first
        error to arrive may be theirs, so wait a moment for the death behind it."""
        asked = [asyncio.create_task(gather([call], limit, what)) for call in calls]
        first, pending = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
        later: set[asyncio.Task[list[Any]]] = set()
        if pending:
            later, pending = await asyncio.wait(pending, timeout=_DEATH_IS_KNOWN_AFTER_S)
        for task in pending:
            task.cancel()
        errors = [e for task in (*first, *later) if (e := task.exception()) is not None]
        if errors:
            # What began it: a death, or what a rank raised on purpose; the rest follows from it.
            errors.sort(
                key=lambda e: (not isinstance(e, WorkerDied), not isinstance(e, InputError))
            )
            raise errors[0]
        return [task.result()[0] for task in asked]

    async def _connect(self) -> None:
        if self._connected:
            return
        limit = self._cluster.start_timeout_s
        first = self._ranks[0].address.remote()
        (master,) = await gather([first], limit, "the first learner to start")
        joins = [rank.connect.remote(master) for rank in self._ranks]
        await self._together(joins, limit, "the learners to find each other")
        self._connected = True
