"""The one place where a worker class meets ``ray.remote``.

A worker knows nothing of Ray; where it runs, with how many CPUs and GPUs and which environment, is
decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.crew import Spawn
from actors.judge import JudgeWorker
from actors.learner import LearnerWorker
from actors.pools import GENERATE
from actors.rollout import RolloutWorker
from clusters.layout import Bundle, Role, reserved
from clusters.runtime_env import judge_env, learner_env, rollout_env
from cogaudio_rl.config import Config


def rollout_spawner(
    config: Config, group: PlacementGroup, bundles: Sequence[Bundle]
) -> list[Spawn]:
    """For each rollout bundle, what starts an actor around a vLLM engine in it."""
    env = rollout_env(config.cluster)
    return [
        partial(_actor(RolloutWorker, bundle, place, group, env, {GENERATE: 1}).remote, config)
        for place, bundle in _of(Role.ROLLOUT, bundles)
    ]


def judge_spawner(config: Config, group: PlacementGroup, bundles: Sequence[Bundle]) -> list[Spawn]:
    """For each judge bundle, what starts a judge in it."""
    env, places = judge_env(config.cluster, config.judge), _of(Role.JUDGE, bundles)
    judge = config.judge.among(len(places))
    return [
        partial(
            _actor(JudgeWorker, bundle, place, group, env).remote,
            *(judge, config.rl.reward, config.cluster),
        )
        for place, bundle in places
    ]


def learner_spawner(
    config: Config, group: PlacementGroup, bundles: Sequence[Bundle]
) -> list[Spawn]:
    """For each DeepSpeed rank, what starts it."""
    env, ranks = learner_env(config.cluster), _of(Role.LEARNER, bundles)
    return [
        partial(
            _actor(LearnerWorker, bundle, place, group, env).remote,
            *(config, bundle.index, len(ranks)),
        )
        for place, bundle in ranks
    ]


def _of(role: Role, bundles: Sequence[Bundle]) -> list[tuple[int, Bundle]]:
    """The role's bundles, each with its place in the placement group."""
    return [(place, b) for place, b in enumerate(reserved(bundles)) if b.role is role]


def _actor(
    worker: type,
    bundle: Bundle,
    place: int,
    group: PlacementGroup,
    env_vars: dict[str, str],
    concurrency_groups: dict[str, int] | None = None,
) -> Any:
    # num_gpus is always given: inside a placement group an actor without it sees no GPU at all.
    groups: Any = {"concurrency_groups": concurrency_groups} if concurrency_groups else {}
    decorate: Any = ray.remote(**groups) if groups else ray.remote
    return decorate(worker).options(
        num_cpus=bundle.cpus,
        num_gpus=bundle.gpus,
        runtime_env={"env_vars": env_vars},
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=place
        ),
    )
