"""The learner: one RL update from scored samples, the same code in one process and on every rank."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cogaudio_rl.config import Config, RlConfig
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.checkpoint import load_adapter, save_adapter
from cogaudio_rl.models.engine import Engine, LocalEngine, all_max, rank_share
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.objectives import Totals, get_objective, gradient_weight
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Adapter, Group, Sample, Update

_ATTENUATED = 0.9
"""Below this weight in the gradient the gate or clip counts as having acted on a token."""


@dataclass(slots=True)
class Tally:
    """Sums over this rank's tokens, and the two largest values; reduced over ranks at the end."""

    loss: float = 0.0
    tokens: float = 0.0
    ratio: float = 0.0
    kl: float = 0.0
    entropy: float = 0.0
    attenuated: float = 0.0
    ratio_max_dev: float = 0.0
    logprob_gap: float = 0.0

    def add(self, row: TokenStats, *, first_update: bool) -> None:
        """Add the tokens of one micro-batch."""
        ratio = row.log_ratio_N.exp()
        self.tokens += ratio.numel()
        self.ratio += float(ratio.sum())
        # k3 of KL(old || new): unbiased and never negative (Schulman, 2020).
        self.kl += float((ratio - 1 - row.log_ratio_N).sum())
        self.entropy += float(row.entropy_N.sum())
        self.attenuated += float((row.weight_N < _ATTENUATED).sum())
        self.ratio_max_dev = max(self.ratio_max_dev, float((ratio - 1).abs().max()))
        if first_update:
            self.logprob_gap = max(self.logprob_gap, float(row.log_ratio_N.abs().max()))


@dataclass(frozen=True, slots=True)
class TokenStats:
    """What the metrics need of a micro-batch's N response tokens, without gradient."""

    log_ratio_N: Tensor
    entropy_N: Tensor
    weight_N: Tensor


class PolicyLearner:
    """One rank's share of the learner; with :class:`LocalEngine`, the whole of it."""

    def __init__(self, policy: Policy, engine: Engine, config: Config) -> None:
        self.policy = policy
        self.engine = engine
        self.config = config
        self.version = 0
        self._objective = get_objective(config.rl.objective.name)
        # No dropout in RL: it would move the ratio away from 1 before any update.
        policy.eval()

    def update(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Train on the samples, all of them given to every rank; the version goes up by one.

        ``epochs_per_batch`` passes, each cut into ``minibatches`` with one optimiser step each. The
        old log-probs are the sampler's own. Returns metrics, the same on every rank.
        """
        if not samples:
            raise ValueError("update needs at least one sample, got 0")
        rl, tally, norms = self.config.rl, Tally(), list[float]()
        rate = learning_rate(self.version, rl)
        for minibatch in self._minibatches(samples):
            self._accumulate(minibatch, tally, first_update=not norms)
            norms.append(self.engine.step(rate))
        self.version += 1
        return self._reduce(tally, norms) | {"policy/learning_rate": rate}

    def _minibatches(self, samples: Sequence[Sample]) -> Iterator[list[Sample]]:
        for epoch in range(self.config.rl.epochs_per_batch):
            rng = rng_for(self.config.seed, "minibatch", self.version, epoch)
            parts = np.array_split(rng.permutation(len(samples)), self.config.rl.minibatches)
            yield from ([samples[i] for i in part] for part in parts if len(part))

    def _accumulate(self, minibatch: list[Sample], tally: Tally, *, first_update: bool) -> None:
        lengths = [
            self.policy.length(s.prompt.utterance, len(s.rollout.token_ids)) for s in minibatch
        ]
        model = self.config.model
        totals = Totals(
            sequences=len(minibatch),
            tokens=sum(len(s.rollout.token_ids) for s in minibatch),
            longest=max(model.max_new_tokens_explicit, model.max_new_tokens_direct),
        )
        for rows in rank_share(lengths, self.engine, self.config.rl.micro_batch_size):
            chosen = [minibatch[i] for i in rows] or minibatch[:1]
            loss, stats = self._loss(chosen, totals)
            # An empty share still makes its backward pass, for the collective inside it.
            self.engine.accumulate(loss if rows else loss * 0.0)
            if rows:
                tally.loss += float(loss.detach())
                tally.add(stats, first_update=first_update)

    def _loss(self, samples: Sequence[Sample], totals: Totals) -> tuple[Tensor, TokenStats]:
        """This micro-batch's part of the minibatch's loss."""
        batch = self.policy.pack(
            [self.policy.sequence(s.prompt, s.rollout.token_ids) for s in samples]
        )
        logprobs_BT, entropy_BT = self.engine.forward(batch)
        old_BT = torch.zeros_like(logprobs_BT)
        for row, sample in enumerate(samples):
            old = torch.tensor(sample.rollout.logprobs, dtype=old_BT.dtype)
            old_BT[row, : len(old)] = old.to(old_BT.device)
        advantages_B = torch.tensor([s.advantage for s in samples], device=old_BT.device)
        given = (old_BT, advantages_B, batch.response_mask_BT)
        floats = self.config.rl.objective.floats
        loss_BT = self._objective.loss_per_token(logprobs_BT, *given, **floats)
        loss = self._objective.reduce(loss_BT, batch.response_mask_BT, totals)
        weight_BT = gradient_weight(self._objective, logprobs_BT, *given, **floats)
        spoken = batch.response_mask_BT.bool()
        log_ratio_N = (logprobs_BT - old_BT).detach()[spoken]
        return loss, TokenStats(log_ratio_N, entropy_BT[spoken], weight_BT[spoken])

    def _reduce(self, tally: Tally, norms: list[float]) -> dict[str, float]:
        sums = (tally.loss, tally.tokens, tally.ratio, tally.kl, tally.entropy, tally.attenuated)
        loss, tokens, ratio, kl, entropy, attenuated = self.engine.all_sum(sums)
        metrics = {
            "policy/loss": loss / len(norms),
            "policy/ratio_mean": ratio / tokens,
            "policy/ratio_max_dev": all_max(self.engine, tally.ratio_max_dev),
            "policy/kl": kl / tokens,
            "policy/entropy": entropy / tokens,
            "policy/grad_norm": sum(norms) / len(norms),
            "policy/updates": float(len(norms)),
            "policy/logprob_gap": all_max(self.engine, tally.logprob_gap),
            "policy/attenuated": attenuated / tokens,
        }
        return metrics

    @torch.no_grad()
    def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        """This policy's log-probs of every rollout's tokens; one rank can do it alone."""
        rows: list[list[tuple[float, ...]]] = []
        for group in groups_P:
            batch = self.policy.pack(
                [self.policy.sequence(group.prompt, r.token_ids) for r in group.rollouts]
            )
            logprobs_BT, _ = self.policy(batch)
            rows.append(
                [
                    tuple(row[: len(rollout.token_ids)])
                    for row, rollout in zip(logprobs_BT.tolist(), group.rollouts, strict=True)
                ]
            )
        return rows

    def adapter(self) -> Adapter:
        """The LoRA weights and their version."""
        return self.policy.adapter(self.version)

    def save(self, folder: Path) -> None:
        """Write this rank's optimiser state; rank 0 adds the adapter, last."""
        folder.mkdir(parents=True, exist_ok=True)
        path = self._state_path(folder)
        partial = path.with_name(path.name + ".partial")
        torch.save(self.engine.state_dict(), partial)
        os.replace(partial, path)
        if self.engine.rank == 0:
            lora = self.config.model.lora
            save_adapter(self.adapter(), folder, r=lora.r, alpha=lora.alpha, base=self.policy.name)

    def load(self, folder: Path) -> None:
        """Continue from a folder of :meth:`save`, or begin from a bare adapter's (an SFT stage's).

        Raises CheckpointError when the folder holds no adapter, one of another architecture, or the
        optimiser state of another number of ranks.
        """
        adapter = load_adapter(folder)
        self.policy.load_adapter(adapter)
        self.engine.reset()
        self.version = adapter.version
        path = self._state_path(folder)
        if path.is_file():
            self.engine.load_state_dict(torch.load(path, weights_only=True))
        elif any(folder.glob("optimizer-*.pt")):
            raise CheckpointError(
                f"checkpoint {str(folder)!r} was saved by another number of learners than "
                f"{self.engine.world_size}; resume with the number it was saved by"
            )

    def _state_path(self, folder: Path) -> Path:
        return folder / f"optimizer-{self.engine.rank + 1}-of-{self.engine.world_size}.pt"


class LocalLearner:
    """The Learner port in one process."""

    def __init__(self, policy: Policy, config: Config) -> None:
        engine = LocalEngine(policy, gradient_clip=config.rl.gradient_clip)
        self._learner = PolicyLearner(policy, engine, config)

    async def update(self, samples: Sequence[Sample]) -> Update:
        metrics = self._learner.update(samples)
        return Update(policy_version=self._learner.version, metrics=metrics)

    async def adapter(self) -> Adapter:
        return self._learner.adapter()

    async def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        return self._learner.logprobs(groups_P)

    async def save(self, folder: Path) -> None:
        self._learner.save(folder)

    async def load(self, folder: Path) -> None:
        self._learner.load(folder)

    async def restart(self) -> None:
        """Nothing can have died; :meth:`load` replaces all there is."""


def learning_rate(version: int, config: RlConfig) -> float:
    """The rate of the update that makes ``version + 1``: linear warm-up, then constant or falling
    linearly to nothing at ``config.steps``."""
    warmup = min(1.0, (version + 1) / max(1, config.warmup_steps))
    if config.schedule == "constant":
        return config.learning_rate * warmup
    left = (config.steps - version) / max(1, config.steps - config.warmup_steps + 1)
    return config.learning_rate * max(0.0, min(warmup, left))
