"""Ray Train and the learner actors, for real, on a tiny checkpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_world import (
    adapter_gap,
    make_checkpoint,
    make_config,
    make_policy,
    make_samples,
    make_utterances,
)

from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.errors import CheckpointError, DataError, WorkerDied
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.stages.local import LocalLearner
from cogaudio_rl.stages.sft import run_sft
from cogaudio_rl.types import Group, Utterance

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("default"),
]

ENV = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
STAGE = SftStageConfig(epochs=2.0, batch_size=5, learning_rate=1e-3, explicit_share=0.5)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    import ray

    # The workers import the test's own modules.
    paths = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parents[1])])
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(make_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_utterances(tmp_path_factory.mktemp("clips"), 7)


@pytest.mark.parametrize("kind", ["listed", "streamed"])
def test_ray_train_equals_one_process(
    ray_cluster: None, config: Config, utterances: list[Utterance], tmp_path: Path, kind: str
) -> None:
    from actors.sft import train_sft

    write_manifest(tmp_path / "train.jsonl", utterances)
    train = utterances if kind == "listed" else Mixture({tmp_path / "train.jsonl": 1.0})
    seen: list[float] = []

    def on_step(step: int, total: int, metrics: Mapping[str, float]) -> None:
        assert (step, total) == (len(seen) + 1, 3)
        seen.append(metrics["sft/loss"])

    home_before = set(Path.home().glob("ray_results/*"))
    train_sft(
        config, "stage2", STAGE, train,
        init=None, out=tmp_path / "stage2", storage=tmp_path / "ray_train", on_step=on_step, env=ENV,
    )  # fmt: skip
    assert set(Path.home().glob("ray_results/*")) == home_before
    torch.manual_seed(seed_for(0, "lora", "stage2"))
    policy, losses = Policy.load(config.model), list[float]()
    run_sft(
        policy, LocalEngine(policy, gradient_clip=1.0), train, STAGE, config.sft,
        stage="stage2", seed=0, log=lambda _step, _total, m: losses.append(m["sft/loss"]),
    )  # fmt: skip
    assert seen == pytest.approx(losses, rel=1e-4)
    assert adapter_gap(load_adapter(tmp_path / "stage2"), policy.adapter(0)) < 2e-6
    assert not list((tmp_path / "stage2").glob("*.jsonl"))


def test_a_workers_own_error_comes_back_as_itself(
    ray_cluster: None, config: Config, utterances: list[Utterance], tmp_path: Path
) -> None:
    from actors.sft import train_sft

    bare = [replace(u, annotation=None) for u in utterances]
    with pytest.raises(DataError, match=r"^utterance 'u\d' has no annotation to learn from$"):
        train_sft(
            config, "stage1", STAGE, bare,
            init=None, out=tmp_path / "s", storage=tmp_path / "r", on_step=print, env=ENV,
        )  # fmt: skip


async def test_learner_group_equals_local_learner(
    ray_cluster: None, config: Config, utterances: list[Utterance], tmp_path: Path
) -> None:
    import ray

    from actors.learner import LearnerGroup, LearnerWorker

    worker: Any = ray.remote(LearnerWorker).options(num_cpus=0.5, runtime_env={"env_vars": ENV})
    group = LearnerGroup(config, [partial(worker.remote, config, rank, 2) for rank in range(2)])
    policy = make_policy(config)
    samples = make_samples(policy, utterances[:2], group_size=2)
    local = LocalLearner(policy, config)
    ours, theirs = await group.update(samples), await local.update(samples)
    assert ours.policy_version == theirs.policy_version == 1
    assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-3, abs=2e-5)
    assert adapter_gap(await group.adapter(), await local.adapter()) < 2e-6
    groups = [Group(prompt=s.prompt, rollouts=(s.rollout,)) for s in samples]
    for a, b in zip(await group.logprobs(groups), await local.logprobs(groups), strict=True):
        assert a[0] == pytest.approx(b[0], abs=1e-3)
    await group.save(tmp_path / "checkpoint")
    again = await group.update(samples)
    await group.load(tmp_path / "checkpoint")
    assert await group.update(samples) == again
    with pytest.raises(CheckpointError, match="holds no adapter_model"):
        await group.load(tmp_path / "nowhere")
    # One rank is killed in the midst of an update: said in time, and all go on from the checkpoint.
    update = asyncio.create_task(group.update(samples * 20))
    await asyncio.sleep(0.5)
    ray.kill(group._ranks[1])
    with pytest.raises(WorkerDied, match="the learners to update"):
        await update
    await group.restart()
    await group.load(tmp_path / "checkpoint")
    assert await group.update(samples) == again
    for rank in group._ranks:
        ray.kill(rank)
