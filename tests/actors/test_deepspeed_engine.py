"""DeepSpeed ranks, however many and however sharded, make the update that one process makes."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_process import rank_main
from tiny_world import (
    adapter_gap,
    make_checkpoint,
    make_config,
    make_policy,
    make_samples,
    make_utterances,
)

from actors.learner import LearnerWorker
from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.learner import PolicyLearner
from cogaudio_rl.stages.sft import run_sft
from cogaudio_rl.types import Group, Sample, Utterance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STAGE = SftStageConfig(epochs=1.0, batch_size=5, learning_rate=1e-3, explicit_share=0.5)


def run_ranks(
    config: Config, world_size: int, samples: list[Sample], utterances: list[Utterance], out: Path
) -> list[dict[str, Any]]:
    spawn = multiprocessing.get_context("spawn")
    master = LearnerWorker.address(_OnlyConfig(config))  # pyright: ignore[reportArgumentType]
    arguments = (world_size, master, config, samples, utterances, STAGE, out)
    ranks = [spawn.Process(target=rank_main, args=(r, *arguments)) for r in range(world_size)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(500)
    for rank in ranks:
        if rank.is_alive():
            rank.kill()
    assert [rank.exitcode for rank in ranks] == [0] * world_size
    return [torch.load(out / f"rank{r}.pt", weights_only=False) for r in range(world_size)]


class _OnlyConfig:
    def __init__(self, config: Config) -> None:
        self._config = config


@pytest.mark.parametrize(
    ("zero_stage", "world_size", "unheard", "trains"),
    [
        (0, 2, "none", "lora"),
        (1, 2, "none", "lora"),
        (2, 1, "none", "lora"),
        (2, 2, "all", "lora"),
        (2, 4, "some", "lora"),
        (3, 2, "some", "lora"),
        (2, 2, "none", "whole"),
        (3, 2, "some", "whole"),
    ],
)
def test_ranks_equal_one_process(
    zero_stage: int, world_size: int, unheard: str, trains: str, tmp_path: Path
) -> None:
    """``unheard``: how many utterances are text alone, so that some ranks have nothing to hear."""
    config = make_config(make_checkpoint(tmp_path / "tiny"), minibatches=2, micro_batch_tokens=256)
    cluster = config.cluster.model_copy(update={"zero_stage": zero_stage})
    lora = config.model.lora if trains == "lora" else None
    model = config.model.model_copy(update={"lora": lora})
    config = config.model_copy(update={"cluster": cluster, "model": model})
    utterances = make_utterances(tmp_path / "clips", 5)
    mute = {"none": 0, "some": 2, "all": 5}[unheard]
    utterances = [replace(u, audio=None) if i < mute else u for i, u in enumerate(utterances)]
    policy = make_policy(config)
    # 9 samples in 2 minibatches: ranks have different shares, and an empty last micro-batch.
    samples = make_samples(policy, utterances[:3], group_size=2)[:9]
    learner = PolicyLearner(policy, LocalEngine(policy, gradient_clip=1.0), config)
    expected = [learner.update(samples) for _ in range(2)]

    found = run_ranks(config, world_size, samples, utterances, tmp_path)
    first = found[0]
    assert first["versions"] == [1, 2]
    assert all(rank["updates"] == first["updates"] for rank in found)
    for ours, theirs in zip(first["updates"], expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=2e-5)
    # One rank answers for all; the others took part.
    assert all(rank["adapter"] is None and rank["logprobs"] is None for rank in found[1:])
    assert adapter_gap(first["adapter"], learner.adapter()) < 2e-6
    said = learner.logprobs([Group(prompt=s.prompt, rollouts=(s.rollout,)) for s in samples])
    for ours, theirs in zip(first["logprobs"], said, strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
    # Loading the checkpoint after the first update and going on is never having stopped.
    assert first["again"] == first["updates"][1]
    assert adapter_gap(first["adapter"], first["adapter_again"]) == 0.0

    fresh, losses = make_policy(config), list[float]()
    run_sft(
        fresh, LocalEngine(fresh, gradient_clip=1.0), utterances, STAGE, config.sft, stage="s",
        seed=0, log=lambda _step, _total, metrics: losses.append(metrics["sft/loss"]),
    )  # fmt: skip
    assert first["sft_losses"] == pytest.approx(losses, rel=1e-4)
    assert all(adapter_gap(rank["sft_adapter"], fresh.adapter(0)) < 2e-6 for rank in found)
