"""GSPO: the clip acts on the whole sequence, not on its tokens (arXiv 2507.18071)."""

from __future__ import annotations

import torch
from torch import Tensor

from cogaudio_rl.objectives.inputs import advantage_column, sequence_ratio


def gspo_token_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
) -> Tensor:
    """GSPO's loss, the sequence's own on each of its tokens (arXiv 2507.18071, Eqs. 5 and 7).

        s    = exp( (1 / |y|) * sum_t m_t * (log pi_t - log pi_old_t) )
        loss = -min(s * A, clip(s, 1 - clip_low, 1 + clip_high) * A)

    Every token of a sequence carries the same loss, so
    :func:`~cogaudio_rl.objectives.reduce.sequence_mean`, the paper's reduction, gives it back. The
    gradient is ``-A * s * (1 / |y|) * grad sum_t log pi_t``.

    Args:
        logprobs_BT: ``[B, T]`` log pi of the sampled tokens; the only input with a gradient.
        old_logprobs_BT: ``[B, T]`` log pi_old of the same tokens.
        advantages_B: ``[B]`` one advantage per sequence.
        mask_BT: ``[B, T]`` 1 where a token was sampled, 0 where it is padding.
        clip_low: how far s may fall below 1; in [0, 1]. The paper's 3e-4 is small because s is a
            mean over tokens.
        clip_high: how far s may rise above 1; >= 0.

    Returns:
        ``[B, T]`` losses; 0 for a sequence without tokens.

    Raises:
        ValueError: shapes do not match, a dtype is not float32/float64, or a clip is out of range.
    """
    if not 0 <= clip_low <= 1:
        raise ValueError(f"clip_low must be in [0, 1], got {clip_low}")
    if not clip_high >= 0:
        raise ValueError(f"clip_high must be >= 0, got {clip_high}")
    ratio_B1 = sequence_ratio(logprobs_BT, old_logprobs_BT, mask_BT)
    advantages_B1 = advantage_column(advantages_B, ratio_B1)
    clipped_B1 = ratio_B1.clamp(1 - clip_low, 1 + clip_high)
    loss_B1 = -torch.minimum(ratio_B1 * advantages_B1, clipped_B1 * advantages_B1)
    spoken_B1 = mask_BT.bool().any(1, keepdim=True)
    return (loss_B1 * spoken_B1).expand_as(logprobs_BT)
