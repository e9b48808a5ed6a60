"""What each process does in the DeepSpeed test; importable, so that it can be spawned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.types import Group, Sample, Utterance


def rank_main(
    rank: int,
    world_size: int,
    master: str,
    config: Config,
    samples: list[Sample],
    utterances: list[Utterance],
    stage: SftStageConfig,
    folder: Path,
) -> None:
    """Two updates with a save and a load between them, then one SFT stage; writes what came out."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    from actors.engine import DeepSpeedEngine
    from actors.learner import LearnerWorker
    from cogaudio_rl.models.policy import Policy
    from cogaudio_rl.stages.sft import run_sft

    worker = LearnerWorker(config, rank, world_size)
    worker.connect(master)
    updates = [worker.update(samples)]
    worker.save(folder / "checkpoint")
    updates.append(worker.update(samples))
    through = worker.adapter()
    worker.load(folder / "checkpoint")
    again = worker.update(samples)

    torch.manual_seed(config.seed)
    policy, losses = Policy.load(config.model), list[float]()
    engine = DeepSpeedEngine(policy, config.cluster, gradient_clip=config.sft.gradient_clip)
    run_sft(
        policy, engine, utterances, stage, config.sft, stage="s", seed=config.seed,
        log=lambda _step, _total, metrics: losses.append(metrics["sft/loss"]),
    )  # fmt: skip
    with engine.whole():
        sft_adapter = policy.adapter(0)
    found: dict[str, Any] = {
        "updates": [dict(u.metrics) for u in updates],
        "versions": [u.policy_version for u in updates],
        "again": dict(again.metrics),
        "adapter": through,
        "adapter_again": worker.adapter(),
        "logprobs": worker.logprobs([_group(s) for s in samples]),
        "sft_losses": losses,
        "sft_adapter": sft_adapter,
    }
    torch.save(found, folder / f"rank{rank}.pt")


def _group(sample: Sample) -> Group:
    return Group(prompt=sample.prompt, rollouts=(sample.rollout,))
