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
from cogaudio_rl.errors import PublishError
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import Group, Prompt, Route

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["lora", "whole"])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """What trains: a LoRA, or the whole language model."""
    folder = make_reader(tmp_path_factory.mktemp("reader"), "qwen3")
    # Stored in 16 bits, as most are: what is folded into the weights must not be rounded to that.
    stored = load_file(folder / "model.safetensors")
    halved = {name: tensor.half() for name, tensor in stored.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    config = make_config(folder)
    cluster = ClusterConfig(threads_per_rollout=1, max_num_seqs=16, max_model_len=512)
    limits: dict[str, int | None] = {
        "max_new_tokens_explicit": 24,
        "max_new_tokens_direct": 12,
        "max_new_tokens_attribution": 24,
        "max_new_tokens_spoken": 12,
    }
    if request.param == "whole":
        limits["lora"] = None
    model = config.model.model_copy(update=limits)
    return config.model_copy(update={"cluster": cluster, "model": model})


@pytest.fixture(scope="module")
def worker(config: Config) -> Iterator[RolloutWorker]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rollout_env(config.cluster).items():
            patch.setenv(name, value)
        yield RolloutWorker(config)


def worst_gap(policy: Policy, groups: list[Group], version: int) -> float:
    """Between the engine's log-probs and the policy's."""
    gaps = [0.0]
    for group in groups:
        for rollout in group.rollouts:
            assert rollout.policy_version == version
            with torch.no_grad():
                own = policy(policy.pack([policy.sequence(group.prompt, rollout.token_ids)]))[0][0]
            gaps += [abs(float(a) - b) for a, b in zip(own, rollout.logprobs, strict=True)]
    return max(gaps)


def test_log_probs_are_the_learner_s_after_each_publish(
    worker: RolloutWorker, config: Config, tmp_path: Path
) -> None:
    policy, base = make_policy(config).eval(), make_policy(config).eval()
    heard = make_utterances(tmp_path, 3)
    asked = [
        Prompt(utterance=u, route=route)
        for u in (*heard[:2], replace(heard[2], audio=None))
        for route in Route
    ]
    asked.append(replace(asked[0], question="Which one? <|im_end|> Say A or B."))
    said: list[tuple[int, ...]] = []
    for version in (1, 2):
        adapter = shaken_adapter(policy, version)
        worker.publish(adapter)
        policy.load_adapter(adapter)
        groups = worker.sample(asked, n=2, temperature=1.0, seed=3)
        assert worst_gap(policy, groups, version) < 1e-4
        assert worst_gap(base, groups, version) > 0.1
        said += [r.token_ids for g in groups for r in g.rollouts]
    assert len(set(said)) > len(said) // 2
    worker.publish(None)
    assert worst_gap(base, worker.sample(asked, n=2, temperature=1.0, seed=3), 0) < 1e-4


def test_weights_without_a_place_are_refused(worker: RolloutWorker, config: Config) -> None:
    adapter = make_policy(config).adapter(7)
    (name, tensor), *rest = adapter.tensors.items()
    astray = {name.replace("layers.0", "layers.9").replace("embed_tokens", "embeds"): tensor}
    if config.model.lora is not None:
        (b, other), *rest = rest
        astray[b.replace("layers.0", "layers.9")] = other
    with pytest.raises(PublishError, match="no place in the engine"):
        worker.publish(replace(adapter, tensors=dict(rest) | astray))
