"""Training without LoRA: the whole language model trains, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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

from cogaudio_rl.config import Config
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.export import merge
from cogaudio_rl.models.learner import PolicyLearner
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import Prompt, Route, Sample


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def samples(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    utterances = make_utterances(tmp_path_factory.mktemp("clips"), 2)
    return make_samples(make_policy(whole(checkpoint)), utterances, group_size=2)


def whole(checkpoint: Path, dtype: str = "float32", **rl: object) -> Config:
    config = make_config(checkpoint, learning_rate=1e-4, **rl)
    model = config.model.model_copy(update={"lora": None, "dtype": dtype})
    return config.model_copy(update={"model": model})


def learner_for(config: Config) -> PolicyLearner:
    policy = make_policy(config)
    return PolicyLearner(policy, LocalEngine(policy, gradient_clip=1.0), config)


def test_the_language_model_trains_and_the_ears_do_not(
    checkpoint: Path, samples: list[Sample]
) -> None:
    learner = learner_for(whole(checkpoint))
    inner = learner.policy.inner()
    before = {n: p.detach().clone() for n, p in inner.named_parameters()}
    learner.update(samples)
    moved = {n for n, p in inner.named_parameters() if not torch.equal(p, before[n])}
    # A word that nobody said still has its logit; an embedding nobody read has no gradient.
    assert moved == {n for n in before if n.startswith(("model.", "lm_head."))}


def test_going_on_from_a_checkpoint_is_never_having_stopped(
    checkpoint: Path, samples: list[Sample], tmp_path: Path
) -> None:
    learner = learner_for(whole(checkpoint, kl_coefficient=0.1))
    (tmp_path / "start").mkdir()
    learner.save(tmp_path / "start")
    learner.begin(tmp_path / "start")
    learner.update(samples)
    learner.save(tmp_path / "kept")
    expected = learner.update(samples)
    again = learner_for(whole(checkpoint, kl_coefficient=0.1))
    again.load(tmp_path / "kept")
    assert again.update(samples) == expected
    assert adapter_gap(again.adapter(), learner.adapter()) == 0.0


def test_a_lora_and_a_whole_model_do_not_mix(checkpoint: Path, tmp_path: Path) -> None:
    lora, full = learner_for(make_config(checkpoint)), learner_for(whole(checkpoint))
    lora.save(tmp_path / "lora")
    full.save(tmp_path / "whole")
    with pytest.raises(CheckpointError, match=r"set model\.lora=null"):
        lora.begin(tmp_path / "whole")
    with pytest.raises(CheckpointError, match=r"model\.lora is null"):
        full.begin(tmp_path / "lora")


def test_its_export_says_what_it_says(
    checkpoint: Path, samples: list[Sample], tmp_path: Path
) -> None:
    learner = learner_for(whole(checkpoint))
    learner.update(samples)
    learner.save(tmp_path / "trained")
    changed = merge(str(checkpoint), tmp_path / "trained", tmp_path / "merged")
    assert changed == len(learner.adapter().tensors)
    merged = make_policy(whole(tmp_path / "merged"))
    assert adapter_gap(merged.adapter(1), learner.adapter()) == 0.0
    prompt = Prompt(utterance=samples[0].prompt.utterance, route=Route.DIRECT)
    assert torch.equal(said(merged.eval(), prompt), said(learner.policy, prompt))


def test_bfloat16_computes_so_and_keeps_float32(checkpoint: Path, samples: list[Sample]) -> None:
    full, half = learner_for(whole(checkpoint)), learner_for(whole(checkpoint, "bfloat16"))
    prompt = samples[0].prompt
    gap = (said(full.policy, prompt) - said(half.policy, prompt)).abs()
    assert 0 < float(gap.max()) < 0.2
    half.update(samples)
    assert {p.dtype for _, p in half.policy.trained_parameters()} == {torch.float32}
    assert half.policy.inner().audio_tower.conv1.weight.dtype is torch.bfloat16


@torch.no_grad()
def said(policy: Policy, prompt: Prompt) -> torch.Tensor:
    ids = tuple(int(i) for i in np.random.default_rng(0).integers(20, 400, 12))
    return policy(policy.pack([policy.sequence(prompt, ids)]))[0]
