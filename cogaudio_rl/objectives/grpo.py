"""GRPO: PPO's clipped surrogate with group-relative advantages (arXiv 2402.03300)."""

from __future__ import annotations

import torch
from torch import Tensor

from cogaudio_rl.objectives.inputs import advantage_column, importance_ratio


def grpo_token_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Tensor:
    """GRPO's loss per token, unmasked and unreduced (arXiv 2402.03300, Eq. 3 without its KL term).

        loss = -min(r * A, clip(r, 1 - clip_low, 1 + clip_high) * A),   r = pi / pi_old

    The gradient is ``-A * r * grad log pi`` and zero where the clip binds: r > 1 + clip_high with
    A > 0, r < 1 - clip_low with A < 0. The paper's reduction is
    :func:`~cogaudio_rl.objectives.reduce.sequence_mean`.

    Args:
        logprobs_BT: ``[B, T]`` log pi of the sampled tokens; the only input with a gradient.
        old_logprobs_BT: ``[B, T]`` log pi_old of the same tokens.
        advantages_B: ``[B]`` one advantage per sequence.
        clip_low: how far r may fall below 1; in [0, 1].
        clip_high: how far r may rise above 1; >= 0.

    Returns:
        ``[B, T]`` losses. log r is clamped to +-20 and the gradient is zero beyond.

    Raises:
        ValueError: shapes do not match, a dtype is not float32/float64, or a clip is out of range.
    """
    if not 0 <= clip_low <= 1:
        raise ValueError(f"clip_low must be in [0, 1], got {clip_low}")
    if not clip_high >= 0:
        raise ValueError(f"clip_high must be >= 0, got {clip_high}")
    ratio_BT = importance_ratio(logprobs_BT, old_logprobs_BT)
    advantages_B1 = advantage_column(advantages_B, ratio_BT)
    clipped_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio_BT * advantages_B1, clipped_BT * advantages_B1)
