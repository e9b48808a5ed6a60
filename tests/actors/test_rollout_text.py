"""A real vLLM engine around a backbone that only reads, beside the real policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_backbone import shaken_adapter
from tiny_world import make_config, make_policy, make_reader, make_utterances

from actors.rollout import RolloutWorker
from clusters.runtime_env import rollout_env
from cogaudio_rl.config import ClusterConfig, Config
from cogaudio_rl.types import Prompt, Route

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = make_reader(tmp_path_factory.mktemp("reader"), "qwen3")
    # Stored in 16 bits, as most are: what is folded into the weights must not be rounded to that.
    stored = load_file(folder / "model.safetensors")
    halved = {name: tensor.half() for name, tensor in stored.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    config = make_config(folder)
    cluster = ClusterConfig(threads_per_rollout=1, max_num_seqs=16, max_model_len=256)
    limits = {"max_new_tokens_explicit": 24, "max_new_tokens_direct": 12}
    model = config.model.model_copy(update=limits)
    return config.model_copy(update={"cluster": cluster, "model": model})


@pytest.fixture(scope="module")
def worker(config: Config) -> Iterator[RolloutWorker]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rollout_env(config.cluster).items():
            patch.setenv(name, value)
        yield RolloutWorker(config)


def test_log_probs_are_the_learner_s_after_each_publish(
    worker: RolloutWorker, config: Config, tmp_path: Path
) -> None:
    policy = make_policy(config).eval()
    heard = make_utterances(tmp_path, 3)
    asked = [
        Prompt(utterance=u, route=route)
        for u in (*heard[:2], replace(heard[2], audio=None))
        for route in Route
    ]
    said: list[tuple[int, ...]] = []
    for version in (1, 2):
        adapter = shaken_adapter(policy, version)
        worker.publish(adapter)
        policy.load_adapter(adapter)
        for group in worker.sample(asked, n=2, temperature=1.0, seed=3):
            for rollout in group.rollouts:
                part = policy.sequence(group.prompt, rollout.token_ids)
                with torch.no_grad():
                    own = policy(policy.pack([part]))[0][0]
                assert max(abs(a - b) for a, b in zip(own, rollout.logprobs, strict=True)) < 1e-4
                assert rollout.policy_version == version
                said.append(rollout.token_ids)
    assert len(set(said)) > len(said) // 2
