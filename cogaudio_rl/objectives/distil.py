"""Distillation: the divergence of a student's next token from a teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST = 1e-12
_SUM_TOLERANCE = 1e-4


def distil_token_loss(student_logprobs_TK: Tensor, teacher_logprobs_TK: Tensor) -> Tensor:
    """``KL(p || q)`` per token over K named tokens and all others together, in nats.

        sum_k p_k (log p_k - log q_k)  +  p_0 (log p_0 - log q_0),   p_0 = 1 - sum_k p_k

    Merging the others can only lower a divergence, so this is a lower bound of the whole vocabulary's,
    and equals it where the K tokens hold all of p and q. Its gradient in ``log q_k``, the K taken as
    independent, is ``-p_k + p_0 q_k / q_0``.

    Args:
        student_logprobs_TK: ``[T, K]`` log q of the K tokens at each place; the only input with a
            gradient.
        teacher_logprobs_TK: ``[T, K]`` log p of the same tokens.

    Returns:
        ``[T]`` divergences >= 0.

    Raises:
        ValueError: shapes differ or are not rank 2, a dtype is not float32/float64, or the K tokens
            have more than all of the probability.
    """
    if student_logprobs_TK.ndim != 2 or student_logprobs_TK.shape != teacher_logprobs_TK.shape:
        raise ValueError(
            "student_logprobs_TK and teacher_logprobs_TK must both be [T, K], got "
            f"{tuple(student_logprobs_TK.shape)} and {tuple(teacher_logprobs_TK.shape)}"
        )
    if student_logprobs_TK.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"student_logprobs_TK must be float32 or float64, got {student_logprobs_TK.dtype}"
        )
    teacher_TK = teacher_logprobs_TK.detach().to(student_logprobs_TK.dtype).exp()
    held_T = teacher_TK.sum(1)
    if bool((held_T > 1 + _SUM_TOLERANCE).any()):
        raise ValueError(f"the named tokens must hold at most 1, got {float(held_T.max())}")
    rest_T = (1 - held_T).clamp(min=0)
    # The student's own rest is at least a rounding error away from log 0.
    student_rest_T = (1 - student_logprobs_TK.exp().sum(1)).clamp(min=_SMALLEST)
    named_T = (torch.xlogy(teacher_TK, teacher_TK) - teacher_TK * student_logprobs_TK).sum(1)
    others_T = torch.xlogy(rest_T, rest_T) - rest_T * student_rest_T.log()
    return named_T + others_T
