"""Objectives as pure functions: a loss per token here, its mean in ``reduce``. See README.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from cogaudio_rl.errors import ConfigError
from cogaudio_rl.objectives.cispo import cispo_token_loss
from cogaudio_rl.objectives.dpo import dpo_token_loss
from cogaudio_rl.objectives.grpo import grpo_token_loss
from cogaudio_rl.objectives.gspo import gspo_token_loss
from cogaudio_rl.objectives.inputs import importance_ratio, sequence_ratio
from cogaudio_rl.objectives.reduce import constant_length_mean, sequence_mean, token_mean
from cogaudio_rl.objectives.sapo import sapo_token_loss

TokenLoss: TypeAlias = Callable[..., Tensor]
"""``(logprobs_BT, old_logprobs_BT, advantages_B, *, <its own floats>) -> loss_BT``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts of a whole minibatch, all ranks and micro-batches together."""

    sequences: int
    tokens: int
    longest: int
    """Largest number of new tokens an answer may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A policy objective by its name in a recipe: a loss per token, its mean, its advantages."""

    token_loss: TokenLoss
    mean: Literal["sequence", "token", "constant_length", "pair"]
    divide_by_std: bool = True
    """Whether a group's advantages are divided by its standard deviation."""
    over_sequences: bool = False
    """Whether there is one ratio for a sequence, and not one for each of its tokens."""
    pairs: bool = False
    """Whether samples come two by two, chosen and rejected."""

    def loss_per_token(
        self,
        logprobs_BT: Tensor,
        old_logprobs_BT: Tensor,
        advantages_B: Tensor,
        mask_BT: Tensor,
        **floats: float,
    ) -> Tensor:
        """``[B, T]`` losses, unreduced."""
        masks = (mask_BT,) if self.over_sequences else ()
        return self.token_loss(logprobs_BT, old_logprobs_BT, advantages_B, *masks, **floats)

    def importance_weight(
        self, old_BT: Tensor, sampler_BT: Tensor, mask_BT: Tensor, *, cap: float
    ) -> Tensor:
        """``min(pi_old / pi_sampler, cap)``, ``[B, T]``: what the gap between the engines is worth.

        Truncated importance sampling; by tokens, or by whole sequences where the ratio is. 1 for pairs:
        whoever said them, their loss is what it is.
        """
        if self.pairs:
            return torch.ones_like(old_BT)
        if self.over_sequences:
            ratio_BT = sequence_ratio(old_BT, sampler_BT, mask_BT).expand_as(old_BT)
        else:
            ratio_BT = importance_ratio(old_BT, sampler_BT)
        return ratio_BT.clamp(max=cap)

    def reduce(self, loss_BT: Tensor, mask_BT: Tensor, totals: Totals) -> Tensor:
        """One number; parts of a minibatch add up to the number of the whole."""
        if self.mean == "token":
            return token_mean(loss_BT, mask_BT, global_tokens=totals.tokens)
        if self.mean == "pair":  # summed over tokens
            return constant_length_mean(
                loss_BT, mask_BT, length=1, global_sequences=max(1, totals.sequences // 2)
            )
        if self.mean == "sequence":
            return sequence_mean(loss_BT, mask_BT, global_sequences=totals.sequences)
        return constant_length_mean(
            loss_BT, mask_BT, length=totals.longest, global_sequences=totals.sequences
        )


OBJECTIVES: Mapping[str, Objective] = {
    "sapo": Objective(token_loss=sapo_token_loss, mean="sequence"),
    "grpo": Objective(token_loss=grpo_token_loss, mean="sequence"),
    "dr_grpo": Objective(token_loss=grpo_token_loss, mean="constant_length", divide_by_std=False),
    "gspo": Objective(token_loss=gspo_token_loss, mean="sequence", over_sequences=True),
    "dapo": Objective(token_loss=grpo_token_loss, mean="token"),
    "cispo": Objective(token_loss=cispo_token_loss, mean="token"),
    "dpo": Objective(token_loss=dpo_token_loss, mean="pair", pairs=True),
}
"""The reinforcement-learning objectives a recipe can name."""


def get_objective(name: str) -> Objective:
    """The objective called ``name``.

    Raises:
        ConfigError: there is none of that name; the message lists the choices.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objective must be one of {', '.join(sorted(OBJECTIVES))}, got {name!r}")
    return OBJECTIVES[name]


def gradient_weight(
    objective: Objective,
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    **floats: float,
) -> Tensor:
    """``w`` of each token in the gradient ``-A * w * grad log pi``; for metrics.

    1 on-policy for every objective; below 1 where it is attenuated, 0 where it is clipped away.
    Read off the loss itself, so that it cannot tell another story. 1 where the advantage is 0.
    """
    with torch.enable_grad():
        leaf_BT = logprobs_BT.detach().requires_grad_()
        loss_BT = objective.loss_per_token(
            leaf_BT, old_logprobs_BT, advantages_B, mask_BT, **floats
        )
        (gradient_BT,) = torch.autograd.grad(
            loss_BT.masked_fill(~mask_BT.bool(), 0.0).sum(), leaf_BT
        )
    advantages_B1 = advantages_B.to(gradient_BT.dtype)[:, None]
    return torch.where(advantages_B1 == 0, 1.0, -gradient_BT / advantages_B1)


__all__ = [
    "OBJECTIVES",
    "Objective",
    "TokenLoss",
    "Totals",
    "cispo_token_loss",
    "dpo_token_loss",
    "get_objective",
    "gradient_weight",
    "grpo_token_loss",
    "gspo_token_loss",
    "sapo_token_loss",
]
