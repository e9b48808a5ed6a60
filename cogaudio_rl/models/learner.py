"""The learner: one RL update from scored samples, the same code in one process and on every rank."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cogaudio_rl.config import Config, RlConfig
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.checkpoint import (
    load_adapter,
    load_reference,
    save_adapter,
    save_reference,
)
from cogaudio_rl.models.engine import Engine, all_max, rank_share
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.models.tally import Tally, TokenStats, k3
from cogaudio_rl.objectives import Totals, get_objective, gradient_weight
from cogaudio_rl.objectives.dpo import dpo_loss, dpo_weight
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Adapter, Group, Prompt, Rollout, Sample, StopReason
from cogaudio_rl.written import answer_to


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """A sample with the log-probs of its tokens that an update holds fixed."""

    sample: Sample
    old: Sequence[float]
    """What the ratio is taken to."""
    reference: Sequence[float] | None
    """Under the policy RL began with; None without a KL term."""


class PolicyLearner:
    """One rank's share of the learner; with :class:`LocalEngine`, the whole of it."""

    def __init__(self, policy: Policy, engine: Engine, config: Config) -> None:
        self.policy = policy
        self.engine = engine
        self.config = config
        self.version = 0
        self._objective = get_objective(config.rl.objective.name)
        self._reference: Adapter | None = None
        policy.recompute_activations(config.model.gradient_checkpointing)
        # No dropout in RL: it would move the ratio away from 1 before any update.
        policy.eval()

    def update(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Train on the samples, all of them given to every rank; the version goes up by one.

        ``epochs_per_batch`` passes, each cut into ``minibatches`` with one optimiser step each. The
        old log-probs are the sampler's own or, by ``old_logprobs``, the learner's at the start of the
        update. Returns metrics, the same on every rank.
        """
        if not samples:
            raise ValueError("update needs at least one sample, got 0")
        if self._objective.pairs:
            _check_pairs(samples)
        rl, tally, norms = self.config.rl, Tally(), list[float]()
        rate = learning_rate(self.version, rl)
        anchored = self._anchor(samples)
        margins: list[Tensor] = []
        for minibatch in self._minibatches(anchored):
            if self._objective.pairs:
                margins.append(self._margins(minibatch))
                minibatch = self._weighed(minibatch, margins[-1])
            self._accumulate(minibatch, tally, first_update=not norms)
            norms.append(self.engine.step(rate))
        self.version += 1
        metrics = self._reduce(tally, norms) | {"policy/learning_rate": rate}
        return metrics | (self._pair_metrics(margins) if margins else {})

    def _margins(self, minibatch: Sequence[Anchored]) -> Tensor:
        """What each pair's chosen answer has gained on the rejected since RL began, in nats [P]."""
        logprobs = self._logprob_rows([(a.sample.prompt, a.sample.rollout) for a in minibatch])
        gained = [
            sum(row) - sum(a.reference)
            for row, a in zip(logprobs, minibatch, strict=True)
            if a.reference is not None
        ]
        gained_P2 = torch.tensor(gained, dtype=torch.float64).reshape(-1, 2)
        return gained_P2[:, 0] - gained_P2[:, 1]

    def _weighed(self, minibatch: Sequence[Anchored], margins_P: Tensor) -> list[Anchored]:
        """The same, each pair with what it still has to learn as its advantage."""
        weights = dpo_weight(margins_P, **self.config.rl.objective.floats).tolist()
        return [
            replace(a, sample=replace(a.sample, advantage=a.sample.advantage * weights[i // 2]))
            for i, a in enumerate(minibatch)
        ]

    def _pair_metrics(self, margins: Sequence[Tensor]) -> dict[str, float]:
        """The objective's own loss, of which the tokens' has the gradient alone."""
        floats, margins_P = self.config.rl.objective.floats, torch.cat(list(margins))
        return {
            "policy/loss": float(dpo_loss(margins_P, **floats).mean()),
            "policy/pair_margin": float(margins_P.mean()),
            "policy/pair_accuracy": float((margins_P > 0).double().mean()),
        }

    def _anchor(self, samples: Sequence[Sample]) -> list[Anchored]:
        """The log-probs this update starts from; passes over the samples only if they are needed."""
        old: Sequence[Sequence[float]] = [s.rollout.logprobs for s in samples]
        reference: Sequence[Sequence[float] | None] = [None] * len(samples)
        if self.config.rl.old_logprobs == "learner":
            old = self._logprob_rows([(s.prompt, s.rollout) for s in samples])
        if self._reference is not None:
            with self._swapped(self._reference):
                reference = self._logprob_rows([(s.prompt, s.rollout) for s in samples])
        return [
            Anchored(sample=s, old=o, reference=r)
            for s, o, r in zip(samples, old, reference, strict=True)
        ]

    @contextmanager
    def _swapped(self, adapter: Adapter) -> Iterator[None]:
        """Another adapter's weights, for as long as the block lasts; then its own, bit by bit."""
        with self.engine.whole():
            own = self.policy.adapter(self.version)
            self.policy.load_adapter(adapter)
        try:
            yield
        finally:
            with self.engine.whole():
                self.policy.load_adapter(own)

    @torch.no_grad()
    def _logprob_rows(self, said: Sequence[tuple[Prompt, Rollout]]) -> list[tuple[float, ...]]:
        """Log-probs of every rollout's tokens under the policy's present weights, on every rank."""
        mine: list[tuple[int, tuple[float, ...]]] = []
        for rows in self._share(said):
            # An empty share still makes its forward pass, for the collectives inside it.
            chosen = [said[i] for i in rows] or said[:1]
            parts = [self.policy.sequence(p, r.token_ids) for p, r in chosen]
            logprobs_BT, _ = self.engine.forward(self.policy.pack(parts))
            for i, row in zip(rows, logprobs_BT.tolist(), strict=False):
                mine.append((i, tuple(row[: len(said[i][1].token_ids)])))
        return [row for _, row in sorted(self.engine.all_gather(mine))]

    def _share(self, said: Sequence[tuple[Prompt, Rollout]]) -> list[list[int]]:
        """This rank's micro-batches, as indices."""
        lengths = [self.policy.length(p, len(r.token_ids)) for p, r in said]
        return rank_share(lengths, self.engine, self.config.rl.micro_batch_tokens)

    def _minibatches(self, anchored: Sequence[Anchored]) -> Iterator[list[Anchored]]:
        size = 2 if self._objective.pairs else 1
        together = [anchored[i : i + size] for i in range(0, len(anchored), size)]
        for epoch in range(self.config.rl.epochs_per_batch):
            rng = rng_for(self.config.seed, "minibatch", self.version, epoch)
            parts = np.array_split(rng.permutation(len(together)), self.config.rl.minibatches)
            yield from ([a for i in part for a in together[i]] for part in parts if len(part))

    def _accumulate(self, minibatch: list[Anchored], tally: Tally, *, first_update: bool) -> None:
        totals = Totals(
            sequences=len(minibatch),
            tokens=sum(len(a.old) for a in minibatch),
            longest=max(self.config.model.max_new_tokens(route) for route in self.config.rl.routes),
        )
        for rows in self._share([(a.sample.prompt, a.sample.rollout) for a in minibatch]):
            chosen = [minibatch[i] for i in rows] or minibatch[:1]
            loss, stats = self._loss(chosen, totals)
            # An empty share still makes its backward pass, for the collective inside it.
            self.engine.accumulate(loss if rows else loss * 0.0)
            if rows:
                tally.loss += float(loss.detach())
                tally.add(stats, first_update=first_update)

    def _loss(self, anchored: Sequence[Anchored], totals: Totals) -> tuple[Tensor, TokenStats]:
        """This micro-batch's part of the minibatch's loss."""
        rl, samples = self.config.rl, [a.sample for a in anchored]
        batch = self.policy.pack(
            [self.policy.sequence(s.prompt, s.rollout.token_ids) for s in samples]
        )
        mask_BT = batch.response_mask_BT
        logprobs_BT, entropy_BT = self.engine.forward(batch)
        sampler_BT = _rows_like(logprobs_BT, [s.rollout.logprobs for s in samples])
        old_BT = _rows_like(logprobs_BT, [a.old for a in anchored])
        advantages_B = torch.tensor([s.advantage for s in samples], device=old_BT.device)
        floats = rl.objective.floats
        loss_BT = self._objective.loss_per_token(
            logprobs_BT, old_BT, advantages_B, mask_BT, **floats
        )
        # Exactly 1 where the ratio is taken to the sampler's own log-probs.
        importance_BT = self._objective.importance_weight(
            old_BT, sampler_BT, mask_BT, cap=rl.importance_cap
        )
        loss_BT = loss_BT * importance_BT
        kl_BT = torch.zeros_like(old_BT)
        references = [a.reference for a in anchored if a.reference is not None]
        if references and rl.kl_coefficient > 0:
            kl_BT = k3(_rows_like(logprobs_BT, references) - logprobs_BT)
            # After the importance weights, as in GRPO: k3 differentiated as it stands. Its value
            # estimates KL(policy || reference) on the policy's own samples; its gradient pulls the
            # policy towards the reference wherever the reference would have said the token.
            loss_BT = loss_BT + rl.kl_coefficient * kl_BT
        loss = self._objective.reduce(loss_BT, mask_BT, totals)
        weight_BT = gradient_weight(
            self._objective, logprobs_BT, old_BT, advantages_B, mask_BT, **floats
        )
        spoken = mask_BT.bool()
        return loss, TokenStats(
            log_ratio_N=(logprobs_BT - old_BT).detach()[spoken],
            entropy_N=entropy_BT[spoken],
            weight_N=weight_BT[spoken],
            importance_N=importance_BT[spoken],
            sampler_gap_N=(old_BT - sampler_BT)[spoken],
            reference_kl_N=kl_BT.detach()[spoken],
            cap=rl.importance_cap,
        )

    def _reduce(self, tally: Tally, norms: list[float]) -> dict[str, float]:
        loss, tokens, *sums = self.engine.all_sum(
            (
                *(tally.loss, tally.tokens, tally.ratio, tally.kl, tally.entropy),
                *(tally.attenuated, tally.importance, tally.truncated),
                *(tally.sampler_kl, tally.reference_kl),
            )
        )
        ratio, kl, entropy, attenuated, importance, truncated, gap, drift = (
            value / tokens for value in sums
        )
        metrics = {
            "policy/loss": loss / len(norms),
            "policy/ratio_mean": ratio,
            "policy/ratio_max_dev": all_max(self.engine, tally.ratio_max_dev),
            "policy/kl": kl,
            "policy/entropy": entropy,
            "policy/grad_norm": sum(norms) / len(norms),
            "policy/updates": float(len(norms)),
            "policy/logprob_gap": all_max(self.engine, tally.logprob_gap),
            "policy/attenuated": attenuated,
        }
        if self.config.rl.old_logprobs == "learner":
            metrics |= {
                "policy/importance_mean": importance,
                "policy/importance_truncated": truncated,
                "policy/sampler_kl": gap,
            }
        if self.config.rl.kl_coefficient > 0:
            metrics["policy/reference_kl"] = drift
        return metrics

    def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        """This policy's log-probs of every rollout's tokens, the same on every rank."""
        rows = iter(self._logprob_rows([(g.prompt, r) for g in groups_P for r in g.rollouts]))
        return [[next(rows) for _ in group.rollouts] for group in groups_P]

    def references(self, prompts_P: Sequence[Prompt]) -> list[Rollout]:
        """What was written for each prompt, as a rollout of this policy's; the same on every rank.

        Raises DataError for an utterance for which nothing was written.
        """
        written = [
            Rollout(
                token_ids=self.policy.response_ids(text),
                logprobs=(),
                text=text,
                stop=StopReason.WRITTEN,
                policy_version=self.version,
            )
            for text in map(answer_to, prompts_P)
        ]
        rows = self._logprob_rows(list(zip(prompts_P, written, strict=True)))
        return [replace(r, logprobs=row) for r, row in zip(written, rows, strict=True)]

    def adapter(self) -> Adapter:
        """What trains, and its version."""
        with self.engine.whole():
            return self.policy.adapter(self.version)

    def save(self, folder: Path) -> None:
        """Write this rank's optimiser state; rank 0 adds the adapter, last."""
        folder.mkdir(parents=True, exist_ok=True)
        path = self._state_path(folder)
        partial = path.with_name(path.name + ".partial")
        torch.save(self.engine.state_dict(), partial)
        os.replace(partial, path)
        adapter = self.adapter()
        if self.engine.rank == 0:
            save_adapter(adapter, folder, lora=self.config.model.lora, base=self.policy.name)
            if self._reference is not None:
                save_reference(self._reference, folder)

    def load(self, folder: Path) -> None:
        """Continue from a folder of :meth:`save`.

        Raises CheckpointError when the folder holds no adapter, one of another architecture, or the
        optimiser state of another number of ranks.
        """
        adapter = load_adapter(folder)
        self._take(adapter)
        self._anchor_to(load_reference(folder) or adapter)
        path = self._state_path(folder)
        if path.is_file():
            self.engine.load_state_dict(torch.load(path, weights_only=True))
        elif any(folder.glob("optimizer-*.pt")):
            raise CheckpointError(
                f"checkpoint {str(folder)!r} was saved by another number of learners than "
                f"{self.engine.world_size}; resume with the number it was saved by"
            )

    def begin(self, folder: Path) -> None:
        """Start at version 0 from the adapter in a folder: an SFT stage's, or another run's.

        Raises CheckpointError when the folder holds no adapter, or one of another architecture.
        """
        adapter = replace(load_adapter(folder), version=0)
        self._take(adapter)
        self._anchor_to(adapter)

    def _take(self, adapter: Adapter) -> None:
        with self.engine.whole():
            self.policy.load_adapter(adapter)
        self.engine.reset()
        self.version = adapter.version

    def _anchor_to(self, adapter: Adapter) -> None:
        """Keep the policy RL began with, where there is a KL to it, or pairs are measured against it.

        A LoRA is a few MB, not a second copy of the model. The bare base would be no reference: it
        cannot write a chain at all.
        """
        self._reference = adapter if self.config.rl.keeps_start else None

    def _state_path(self, folder: Path) -> Path:
        return folder / f"optimizer-{self.engine.rank + 1}-of-{self.engine.world_size}.pt"


def _rows_like(logprobs_BT: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    """Rows of different lengths as one tensor, 0 where they end."""
    found = torch.zeros_like(logprobs_BT, requires_grad=False)
    for row, values in enumerate(rows):
        found[row, : len(values)] = torch.tensor(values, dtype=found.dtype).to(found.device)
    return found


def _check_pairs(samples: Sequence[Sample]) -> None:
    if len(samples) % 2:
        raise ValueError(f"pairs need an even number of samples, got {len(samples)}")
    for chosen, rejected in zip(samples[0::2], samples[1::2], strict=True):
        if chosen.prompt.id != rejected.prompt.id or not chosen.advantage > 0 > rejected.advantage:
            raise ValueError(
                f"a pair is what was chosen and what was rejected of one prompt, got "
                f"{chosen.prompt.id!r} ({chosen.advantage:g}) and "
                f"{rejected.prompt.id!r} ({rejected.advantage:g})"
            )


def learning_rate(version: int, config: RlConfig) -> float:
    """The rate of the update that makes ``version + 1``: linear warm-up, then constant or falling to
    nothing at ``config.steps``, linearly or as a cosine."""
    rising = max(1, config.warmup_steps)
    warmup = min(1.0, (version + 1) / rising)
    if config.schedule == "constant":
        return config.learning_rate * warmup
    left = (config.steps - version) / max(1, config.steps - rising + 1)
    if config.schedule == "cosine":
        left = 0.5 * (1 - math.cos(math.pi * min(1.0, max(0.0, left))))
    return config.learning_rate * max(0.0, min(warmup, left))
