"""Objectives as pure functions: a loss per token here, its mean in ``reduce``. See README.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor

from cogaudio_rl.errors import ConfigError
from cogaudio_rl.objectives.grpo import grpo_token_loss
from cogaudio_rl.objectives.sapo import sapo_token_loss

TokenLoss: TypeAlias = Callable[..., Tensor]
"""``(logprobs_BT, old_logprobs_BT, advantages_B, *, <its own floats>) -> loss_BT``."""

OBJECTIVES: Mapping[str, TokenLoss] = {"sapo": sapo_token_loss, "grpo": grpo_token_loss}
"""The reinforcement-learning objectives a recipe can name."""


def get_objective(name: str) -> TokenLoss:
    """The token loss called ``name``.

    Raises:
        ConfigError: there is none of that name; the message lists the choices.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objective must be one of {', '.join(sorted(OBJECTIVES))}, got {name!r}")
    return OBJECTIVES[name]


__all__ = ["OBJECTIVES", "TokenLoss", "get_objective", "grpo_token_loss", "sapo_token_loss"]
