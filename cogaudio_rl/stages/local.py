"""The same run in one process, without Ray, vLLM or DeepSpeed: for tests, and for exact repeats.

Same seed, same machine and same data give the same metrics to the last digit.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.models.checkpoint import load_adapter, save_adapter
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.generate import LocalSampler
from cogaudio_rl.models.learner import PolicyLearner
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.ports import Ports, RolloutPorts
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.rewards.votes import VotesJudge
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.stages.sft import run_sft
from cogaudio_rl.types import Adapter, Group, Prompt, Rollout, Sample, Update, Utterance

_PACKAGES = ("torch", "transformers", "peft", "numpy")


class LocalBackend:
    """Implements :class:`cogaudio_rl.stages.backend.Backend`."""

    def __init__(self, config: Config) -> None:
        # The order of a sum, and with it the last digit, depends on the number of threads.
        torch.set_num_threads(config.cluster.threads_per_learner)
        self._config = config
        self._rollout_ports: RolloutPorts | None = None
        self._learner: LocalLearner | None = None

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
        """See :class:`cogaudio_rl.stages.backend.Backend`."""
        # LoRA's A is drawn when it is attached.
        torch.manual_seed(seed_for(self._config.seed, "lora", stage))
        policy = Policy.load(self._config.model)
        policy.recompute_activations(self._config.model.gradient_checkpointing)
        if init is not None:
            policy.load_adapter(load_adapter(init))
        engine = LocalEngine(policy, gradient_clip=self._config.sft.gradient_clip)
        run_sft(
            policy,
            engine,
            train,
            config,
            self._config.sft,
            stage=stage,
            seed=self._config.seed,
            log=on_step,
        )
        save_adapter(policy.adapter(0), out, lora=self._config.model.lora, base=policy.name)

    def ports(self) -> Ports:
        """Sampler and learner hold a policy each, as they do on a cluster."""
        rollout = self.rollout_ports()
        return Ports(sampler=rollout.sampler, judge=rollout.judge, learner=self.learner())

    def rollout_ports(self) -> RolloutPorts:
        """See :class:`cogaudio_rl.stages.backend.Backend`."""
        config = self._config
        if self._rollout_ports is None:
            sampler = LocalSampler(Policy.load(config.model), config.model)
            self._rollout_ports = RolloutPorts(
                sampler=sampler,
                judge=VotesJudge(sampler, config.rl.votes_reward)
                if config.judge.kind == "votes"
                else make_judge(config.judge, config.rl.reward),
            )
        return self._rollout_ports

    def learner(self) -> LocalLearner:
        """See :class:`cogaudio_rl.stages.backend.Backend`."""
        if self._learner is None:
            self._learner = LocalLearner(Policy.load(self._config.model), self._config)
        return self._learner

    def versions(self) -> dict[str, str]:
        """Versions of the packages that did the work."""
        return {name: importlib.metadata.version(name) for name in _PACKAGES}

    def save_trace(self, path: Path) -> None:
        """There is one process, and it does one thing at a time."""

    def close(self) -> None:
        """Nothing was started."""
        self._rollout_ports = self._learner = None


class LocalLearner:
    """The Learner port in one process."""

    def __init__(self, policy: Policy, config: Config) -> None:
        engine = LocalEngine(policy, gradient_clip=config.rl.gradient_clip)
        self._learner = PolicyLearner(policy, engine, config)

    async def update(self, samples: Sequence[Sample]) -> Update:
        metrics = self._learner.update(samples)
        return Update(policy_version=self._learner.version, metrics=metrics)

    async def adapter(self) -> Adapter:
        return self._learner.adapter()

    async def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        return self._learner.logprobs(groups_P)

    async def references(self, prompts_P: Sequence[Prompt]) -> list[Rollout]:
        return self._learner.references(prompts_P)

    async def save(self, folder: Path) -> None:
        self._learner.save(folder)

    async def load(self, folder: Path) -> None:
        self._learner.load(folder)

    async def begin(self, folder: Path) -> None:
        self._learner.begin(folder)

    async def restart(self) -> None:
        """Nothing can have died; :meth:`load` replaces all there is."""
