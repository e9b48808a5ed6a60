"""DPO: of two answers the better one, without a reward model (arXiv 2305.18290)."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from cogaudio_rl.objectives.inputs import advantage_column, check_logprobs


def dpo_loss(margins_P: Tensor, *, beta: float) -> Tensor:
    """``-log sigmoid(beta * margin)`` of each pair (arXiv 2305.18290, Eq. 7).

        margin = (log pi(c) - log pi_ref(c)) - (log pi(r) - log pi_ref(r))

    of the chosen and the rejected answer, each summed over its tokens.

    Args:
        margins_P: ``[P]`` margins.
        beta: how strongly the policy is held to the reference; > 0.

    Raises:
        ValueError: ``margins_P`` is not rank 1, or ``beta`` is not positive and finite.
    """
    _check(margins_P, beta)
    return -logsigmoid(beta * margins_P)


def dpo_weight(margins_P: Tensor, *, beta: float) -> Tensor:
    """``sigmoid(-beta * margin)``: what each pair still has to learn, in (0, 1).

    The loss's gradient is ``-beta * weight * (grad log pi(c) - grad log pi(r))``. With the weight known
    beforehand the two answers no longer need each other: they may lie in different micro-batches, and
    on different ranks, and their gradients still add up to the pair's. Raises as :func:`dpo_loss`.
    """
    _check(margins_P, beta)
    return (-beta * margins_P).sigmoid()


def dpo_token_loss(
    logprobs_BT: Tensor, old_logprobs_BT: Tensor, advantages_B: Tensor, *, beta: float = 0.1
) -> Tensor:
    """``-beta * A * log pi`` per token: with DPO's gradient, where A is the pair's :func:`dpo_weight`.

    Its value is not DPO's loss, which :func:`dpo_loss` gives. It is summed over tokens, not averaged,
    and averaged over pairs.

    Args:
        logprobs_BT: ``[B, T]`` log pi of the answers' tokens; the only input with a gradient.
        old_logprobs_BT: not used; every objective is given them.
        advantages_B: ``[B]`` the weight of its pair for a chosen answer, minus that for a rejected one.
        beta: as in :func:`dpo_loss`.

    Returns:
        ``[B, T]`` losses.

    Raises:
        ValueError: a shape or a dtype is wrong, or ``beta`` is not positive and finite.
    """
    check_logprobs("logprobs_BT", logprobs_BT)
    advantages_B1 = advantage_column(advantages_B, logprobs_BT)
    _check_beta(beta)
    return -beta * advantages_B1 * logprobs_BT


def _check(margins_P: Tensor, beta: float) -> None:
    if margins_P.ndim != 1:
        raise ValueError(f"margins_P must be [P], got shape {tuple(margins_P.shape)}")
    _check_beta(beta)


def _check_beta(beta: float) -> None:
    if not 0 < beta < math.inf:
        raise ValueError(f"beta must be positive and finite, got {beta}")
