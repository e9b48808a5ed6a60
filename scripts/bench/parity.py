"""TRL's loss and gradient beside ours, on one batch of TRL's own rollouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from world import make_utterances

from cogaudio_rl.config import Config
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.learner import PolicyLearner
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import REPLY_ROUTES, Adapter, Prompt, Rollout, Sample, StopReason


class _Watching(LocalEngine):
    """Keeps the gradient of the first step it makes, before anything is done to it."""

    def __init__(self, policy: Policy, *, gradient_clip: float) -> None:
        super().__init__(policy, gradient_clip=gradient_clip)
        self.named = list(policy.trained_parameters())
        self.seen: dict[str, torch.Tensor] = {}

    def step(self, learning_rate: float) -> float:
        if not self.seen:
            self.seen = {n: p.grad.clone() for n, p in self.named if p.grad is not None}
        return super().step(learning_rate)


def compare(world: Path, config: Config) -> dict[str, float]:
    """Largest differences over an on-policy and an off-policy batch.

    The gradient's is relative to its largest entry: its scale is arbitrary.
    """
    theirs = torch.load(world / "parity.pt", weights_only=False)
    found = {"loss_max_abs_diff": 0.0, "grad_max_abs_diff": 0.0, "grad_max_rel_diff": 0.0}
    for case in ("on_policy", "off_policy"):
        loss, gradient = _ours(theirs, theirs[case]["old"], config)
        expected = theirs[case]["gradient"]
        assert set(gradient) == set(expected), "TRL trains other weights than we do"
        gap = max(float((gradient[n] - expected[n]).abs().max()) for n in expected)
        size = max(float(g.abs().max()) for g in expected.values())
        rows = {
            "loss_max_abs_diff": abs(loss - theirs[case]["loss"]),
            "grad_max_abs_diff": gap,
            "grad_max_rel_diff": gap / size,
        }
        if not all(map(math.isfinite, (loss, *rows.values()))):
            raise SystemExit(f"the {case} loss or gradient is not a number")
        found |= {name: max(found[name], value) for name, value in rows.items()}
        found[f"{case}_loss"] = loss
        found[f"{case}_grad_max"] = size
    return found


def _ours(
    theirs: dict[str, Any], old_BT: torch.Tensor, config: Config
) -> tuple[float, dict[str, torch.Tensor]]:
    """Our learner's loss and gradient on the batch, through its own public update."""
    one = config.rl.model_copy(update={"epochs_per_batch": 1, "minibatches": 1})
    config = config.model_copy(update={"rl": one})
    torch.manual_seed(0)
    policy = Policy.load(config.model)
    tensors = {k: np.asarray(v) for k, v in theirs["adapter"].items()}
    policy.load_adapter(Adapter(version=0, tensors=tensors))
    engine = _Watching(policy, gradient_clip=1.0)
    samples = _samples(policy, theirs, old_BT)
    metrics = PolicyLearner(policy, engine, config).update(samples)
    return metrics["policy/loss"], engine.seen


def _samples(policy: Policy, theirs: dict[str, Any], old_BT: torch.Tensor) -> list[Sample]:
    prompts = {
        prompt.id: prompt
        for u in make_utterances(64)
        for prompt in (Prompt(utterance=u, route=r) for r in REPLY_ROUTES)
    }
    samples: list[Sample] = []
    for row, name in enumerate(theirs["prompts"]):
        prompt = prompts[name]
        kept = theirs["prompt_mask"][row].bool()
        their_ids = theirs["prompt_ids"][row][kept].tolist()
        if tuple(their_ids) != policy.chat.ids(prompt):
            raise SystemExit(f"prompt {name} is not tokenised alike on both sides")
        said = theirs["completion_mask"][row].bool()
        ids: Sequence[int] = theirs["completion_ids"][row][said].tolist()
        rollout = Rollout(
            token_ids=tuple(ids),
            logprobs=tuple(old_BT[row][said].tolist()),
            text="",
            stop=StopReason.LENGTH,
            policy_version=0,
        )
        advantage = float(theirs["advantages"][row])
        samples.append(Sample(prompt=prompt, rollout=rollout, advantage=advantage))
    return samples
