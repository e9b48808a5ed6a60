"""Whole weights from learners to engines by vLLM's weight transfer; only NCCL itself is replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_backbone import make_backbone
from tiny_world import make_config, make_policy, make_samples, make_utterances

from clusters.runtime_env import learner_env, rollout_env
from cogaudio_rl.config import ClusterConfig, Config
from cogaudio_rl.ports import Ports
from cogaudio_rl.stages.publish import publish
from cogaudio_rl.types import Prompt, Route

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = make_config(make_backbone(tmp_path / "tiny"), learning_rate=1e-4)
    model = config.model.model_copy(
        update={
            "lora": None,
            "max_new_tokens_explicit": 24,
            "max_new_tokens_direct": 12,
            "max_new_tokens_attribution": 24,
            "max_new_tokens_spoken": 12,
        }
    )
    cluster = ClusterConfig(
        rollout_workers=2, learner_workers=2, zero_stage=3, threads_per_rollout=1,
        max_num_seqs=8, max_model_len=256, start_timeout_s=300,
    )  # fmt: skip
    return config.model_copy(update={"model": model, "cluster": cluster})


@pytest.fixture
def ray_cluster() -> Iterator[None]:
    import ray

    paths = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parents[1])])
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
        log_to_driver=False,
    )
    yield
    ray.shutdown()


async def test_engines_answer_with_what_the_learners_sent(
    ray_cluster: None, config: Config, tmp_path: Path
) -> None:
    import ray
    from store_transfer import StoreLearnerWorker, StoreRolloutWorker

    from actors.learner import LearnerGroup
    from actors.pools import GENERATE, SamplerPool
    from actors.transfer import Transfer

    def spawner(worker: Any, env: dict[str, str], *args: Any, **options: Any) -> Any:
        actor = ray.remote(**options)(worker) if options else ray.remote(worker)
        options = {"num_cpus": 0.5, "runtime_env": {"env_vars": env}}
        return partial(actor.options(**options).remote, *args)

    rollout, learner = rollout_env(config.cluster), learner_env(config.cluster)
    groups = {"concurrency_groups": {GENERATE: 1}}
    learners = LearnerGroup(
        config, [spawner(StoreLearnerWorker, learner, config, rank, 2) for rank in range(2)]
    )
    engines = SamplerPool(
        config.cluster, [spawner(StoreRolloutWorker, rollout, config, **groups) for _ in range(2)]
    )
    utterances = make_utterances(tmp_path / "clips", 2)
    canaries = tuple(Prompt(utterance=u, route=r) for u in utterances for r in Route)
    nobody: Any = None
    ports = Ports(
        sampler=engines, judge=nobody, learner=learners, hand_over=Transfer(learners, engines)
    )
    samples = make_samples(make_policy(config), utterances, group_size=2)
    size = sum(p.numel() for _, p in make_policy(config).trained_parameters()) * 4
    said = set[tuple[int, ...]]()
    for version in (1, 2):
        await learners.update(samples)
        done = await publish(ports, canaries, tolerance=1e-3)
        assert (done.version, done.bytes) == (version, size)
        groups_P = await engines.sample(canaries, n=2, temperature=1.0, seed=0)
        own = await learners.logprobs(groups_P)
        for group, rows in zip(groups_P, own, strict=True):
            for rollout_, row in zip(group.rollouts, rows, strict=True):
                assert rollout_.policy_version == version
                assert rollout_.logprobs == pytest.approx(row, abs=1e-3)
                said.add(rollout_.token_ids)
    assert len(said) > 8
    # An engine dies: its successor is given the same weights, and meets the learners anew.
    ray.kill(engines.handles()[0])
    groups_P = await engines.sample(canaries, n=1, temperature=0.0, seed=0)
    assert engines.replaced == 1
    assert {r.policy_version for g in groups_P for r in g.rollouts} == {2}
    await learners.update(samples)
    assert (await publish(ports, canaries, tolerance=1e-3)).version == 3
