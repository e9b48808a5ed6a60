"""Two DeepSpeed ranks make the update that one process makes."""

from __future__ import annotations

import multiprocessing
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
from two_ranks import rank_main

from actors.learner import LearnerWorker
from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.learner import PolicyLearner
from cogaudio_rl.stages.sft import run_sft
from cogaudio_rl.types import Sample, Utterance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STAGE = SftStageConfig(epochs=1.0, batch_size=5, learning_rate=1e-3, explicit_share=0.5)


def run_two_ranks(
    config: Config, samples: list[Sample], utterances: list[Utterance], folder: Path
) -> list[dict[str, Any]]:
    spawn = multiprocessing.get_context("spawn")
    master = LearnerWorker.address(_OnlyConfig(config))  # pyright: ignore[reportArgumentType]
    arguments = (master, config, samples, utterances, STAGE, folder)
    ranks = [spawn.Process(target=rank_main, args=(r, *arguments)) for r in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(500)
    for rank in ranks:
        if rank.is_alive():
            rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return [torch.load(folder / f"rank{r}.pt", weights_only=False) for r in range(2)]


class _OnlyConfig:
    def __init__(self, config: Config) -> None:
        self._config = config


@pytest.mark.parametrize("zero_stage", [1, 2])
def test_two_ranks_equal_one_process(zero_stage: int, tmp_path: Path) -> None:
    config = make_config(make_checkpoint(tmp_path / "tiny"), minibatches=2, micro_batch_tokens=256)
    cluster = config.cluster.model_copy(update={"zero_stage": zero_stage})
    config = config.model_copy(update={"cluster": cluster})
    utterances = make_utterances(tmp_path / "clips", 5)
    policy = make_policy(config)
    # 9 samples in 2 minibatches: one rank has fewer samples, and an empty last micro-batch.
    samples = make_samples(policy, utterances[:3], group_size=2)[:9]
    learner = PolicyLearner(policy, LocalEngine(policy, gradient_clip=1.0), config)
    expected = [learner.update(samples) for _ in range(2)]

    found = run_two_ranks(config, samples, utterances, tmp_path)
    assert found[0]["versions"] == [1, 2]
    assert found[0]["updates"] == found[1]["updates"]
    for ours, theirs in zip(found[0]["updates"], expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=2e-5)
    one_process = learner.adapter()
    assert adapter_gap(found[0]["adapter"], found[1]["adapter"]) == 0.0
    assert adapter_gap(found[0]["adapter"], one_process) < 2e-6
    # Loading the checkpoint after the first update and going on is never having stopped.
    assert found[0]["again"] == found[0]["updates"][1]
    assert adapter_gap(found[0]["adapter"], found[0]["adapter_again"]) == 0.0

    fresh, losses = make_policy(config), list[float]()
    run_sft(
        fresh, LocalEngine(fresh, gradient_clip=1.0), utterances, STAGE, config.sft, stage="s",
        seed=0, log=lambda _step, _total, metrics: losses.append(metrics["sft/loss"]),
    )  # fmt: skip
    assert found[0]["sft_losses"] == pytest.approx(losses, rel=1e-4)
    assert adapter_gap(found[0]["sft_adapter"], fresh.adapter(0)) < 2e-6
