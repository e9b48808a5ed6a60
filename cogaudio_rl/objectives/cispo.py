"""CISPO: the importance weight is clipped, never the gradient (MiniMax-M1, arXiv 2506.13585)."""

from __future__ import annotations

from torch import Tensor

from cogaudio_rl.objectives.inputs import advantage_column, importance_ratio


def cispo_token_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    *,
    clip_high: float = 4.0,
) -> Tensor:
    """CISPO's loss per token, unmasked and unreduced (arXiv 2506.13585, Eqs. 4 and 5).

        loss = -stop_gradient(min(r, 1 + clip_high)) * A * log pi,   r = pi / pi_old

    The gradient is ``-A * min(r, 1 + clip_high) * grad log pi``: it never vanishes, also where PPO
    would clip the token away. The paper leaves the lower bound out and tunes the upper one without
    naming it; 4 (a weight of at most 5) is what open implementations use. Its reduction is
    :func:`~cogaudio_rl.objectives.reduce.token_mean`.

    Args:
        logprobs_BT: ``[B, T]`` log pi of the sampled tokens; the only input with a gradient.
        old_logprobs_BT: ``[B, T]`` log pi_old of the same tokens.
        advantages_B: ``[B]`` one advantage per sequence.
        clip_high: how far the weight may rise above 1; >= 0.

    Returns:
        ``[B, T]`` losses.

    Raises:
        ValueError: shapes do not match, a dtype is not float32/float64, or the clip is negative.
    """
    if not clip_high >= 0:
        raise ValueError(f"clip_high must be >= 0, got {clip_high}")
    ratio_BT = importance_ratio(logprobs_BT, old_logprobs_BT).detach()
    # Padding may be -inf on both sides; a nan weight would spoil its gradient of 0.
    weight_BT = ratio_BT.clamp(max=1 + clip_high).nan_to_num(0.0)
    return -weight_BT * advantage_column(advantages_B, weight_BT) * logprobs_BT
