"""SAPO: a sigmoid gate on the importance ratio in the place of PPO's clip (arXiv 2511.20347)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cogaudio_rl.objectives.inputs import LOG_RATIO_LIMIT, advantage_column, importance_ratio


def sapo_token_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    *,
    tau_pos: float = 1.0,
    tau_neg: float = 1.05,
) -> Tensor:
    """SAPO's loss per token, unmasked and unreduced (arXiv 2511.20347, Eqs. 5 and 6, negated).

        loss = -f(r) * A,   f(r) = sigmoid(tau * (r - 1)) * 4 / tau,   r = pi / pi_old
        tau  = tau_pos where A > 0, else tau_neg

    The gradient is ``-A * w * grad log pi`` with the weight ``w = r * 4p(1 - p)`` of
    :func:`sapo_gate`, ``p = sigmoid(tau * (r - 1))``. That r comes from differentiating f(r); the
    loss has no second one. On-policy (r = 1) the weight is 1 and the gradient is GRPO's. The
    paper's reduction is :func:`~cogaudio_rl.objectives.reduce.sequence_mean`.

    Args:
        logprobs_BT: ``[B, T]`` log pi of the sampled tokens; the only input with a gradient.
        old_logprobs_BT: ``[B, T]`` log pi_old of the same tokens.
        advantages_B: ``[B]`` one advantage per sequence.
        tau_pos: temperature where the advantage is positive; > 0.
        tau_neg: temperature elsewhere; > 0. Larger decays faster: a negative advantage pushes
            probability onto the whole rest of the vocabulary.

    Returns:
        ``[B, T]`` losses. log r is clamped to +-20 and the gradient is zero beyond.

    Raises:
        ValueError: shapes do not match, a dtype is not float32/float64, or a temperature is not
            positive and finite.
    """
    _check_tau("tau_pos", tau_pos)
    _check_tau("tau_neg", tau_neg)
    ratio_BT = importance_ratio(logprobs_BT, old_logprobs_BT)
    advantages_B1 = advantage_column(advantages_B, ratio_BT)
    # torch.where over two Python floats would be float32 and round 1.05 in a float64 loss.
    tau_B1 = torch.full_like(advantages_B1, tau_neg).masked_fill(advantages_B1 > 0, tau_pos)
    return -torch.sigmoid(tau_B1 * (ratio_BT - 1)) * (4 / tau_B1) * advantages_B1


def sapo_gate(ratio_BT: Tensor, tau: float) -> Tensor:
    """The weight SAPO puts on ``A * grad log pi``; for metrics (arXiv 2511.20347, Eq. 6 derived).

        w(r) = r * 4p(1 - p),   p = sigmoid(tau * (r - 1));   w(1) = 1, w(0) = w(inf) = 0

    Args:
        ratio_BT: importance ratios >= 0 of any shape; inf is taken as the limit.
        tau: temperature; > 0.

    Returns:
        Weights of the same shape.

    Raises:
        ValueError: ``tau`` is not positive and finite.
    """
    _check_tau("tau", tau)
    ratio_BT = ratio_BT.clamp(max=math.exp(LOG_RATIO_LIMIT))
    distance_BT = tau * (ratio_BT - 1)
    # sigmoid(-x) and not 1 - sigmoid(x), which cancels to 0 in float32 from about x = 17 on.
    return ratio_BT * 4 * torch.sigmoid(distance_BT) * torch.sigmoid(-distance_BT)


def _check_tau(name: str, tau: float) -> None:
    if not 0 < tau < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {tau}")
