"""The one place where a worker class meets ``ray.remote``.

A worker knows nothing of Ray; where it runs, with how many CPUs and GPUs and which environment, is
decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.judge import JudgeWorker
from actors.learner import LearnerWorker
from actors.rollout import RolloutWorker
from clusters.layout import Bundle, Role, reserved
from clusters.runtime_env import judge_env, learner_env, rollout_env
from cogaudio_rl.config import Config

Handle = Any
"""A ray.actor.ActorHandle; its methods are the worker's, with ``.remote``."""


def spawn_rollouts(
    config: Config, group: PlacementGroup, bundles: Sequence[Bundle]
) -> list[Handle]:
    """One actor around a vLLM engine per rollout bundle."""
    return [
        _actor(RolloutWorker, bundle, place, group, rollout_env(config.cluster)).remote(config)
        for place, bundle in _of(Role.ROLLOUT, bundles)
    ]


def spawn_judges(config: Config, group: PlacementGroup, bundles: Sequence[Bundle]) -> list[Handle]:
    """One actor per judge bundle."""
    return [
        _actor(JudgeWorker, bundle, place, group, judge_env(config.cluster)).remote(
            config.judge, config.rl.reward
        )
        for place, bundle in _of(Role.JUDGE, bundles)
    ]


def spawn_learners(
    config: Config, group: PlacementGroup, bundles: Sequence[Bundle]
) -> list[Handle]:
    """One actor per DeepSpeed rank."""
    ranks = _of(Role.LEARNER, bundles)
    return [
        _actor(LearnerWorker, bundle, place, group, learner_env(config.cluster)).remote(
            config, bundle.index, len(ranks)
        )
        for place, bundle in ranks
    ]


def _of(role: Role, bundles: Sequence[Bundle]) -> list[tuple[int, Bundle]]:
    """The role's bundles, each with its place in the placement group."""
    return [(place, b) for place, b in enumerate(reserved(bundles)) if b.role is role]


def _actor(
    worker: type, bundle: Bundle, place: int, group: PlacementGroup, env_vars: dict[str, str]
) -> Any:
    # num_gpus is always given: inside a placement group an actor without it sees no GPU at all.
    return ray.remote(worker).options(
        num_cpus=bundle.cpus,
        num_gpus=bundle.gpus,
        runtime_env={"env_vars": env_vars},
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=place
        ),
    )
