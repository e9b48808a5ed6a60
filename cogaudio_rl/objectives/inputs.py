"""What the token objectives take: log-probabilities and advantages, checked once."""

from __future__ import annotations

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Where |log r| is clamped. exp(20) = 4.9e8 fits float32; exp(100) is inf there, and the backward
pass of a saturated gate then multiplies 0 by inf. verl and SkyRL clamp at the same place."""

_DTYPES = (torch.float32, torch.float64)


def check_logprobs(name: str, logprobs_BT: Tensor) -> None:
    """Raise ValueError unless ``logprobs_BT`` is ``[B, T]`` and float32 or float64.

    Half precision is refused: near r = 1 bfloat16 cannot tell ratios 0.4 % apart.
    """
    if logprobs_BT.ndim != 2:
        raise ValueError(f"{name} must be [B, T], got shape {tuple(logprobs_BT.shape)}")
    if logprobs_BT.dtype not in _DTYPES:
        raise ValueError(f"{name} must be float32 or float64, got {logprobs_BT.dtype}")


def log_ratio(logprobs_BT: Tensor, old_logprobs_BT: Tensor) -> Tensor:
    """``log pi - log pi_old`` per token, not clamped.

    Gradients flow into ``logprobs_BT`` alone: the old policy is detached, so passing one tensor
    twice is on-policy and still has a gradient.

    Args:
        logprobs_BT: ``[B, T]`` log-probabilities of the sampled tokens under the policy.
        old_logprobs_BT: ``[B, T]`` the same under the policy that sampled them.

    Returns:
        ``[B, T]`` differences.

    Raises:
        ValueError: a tensor is not rank 2 or not float32/float64, or the two shapes differ.
    """
    check_logprobs("logprobs_BT", logprobs_BT)
    check_logprobs("old_logprobs_BT", old_logprobs_BT)
    if logprobs_BT.shape != old_logprobs_BT.shape:
        raise ValueError(
            "logprobs_BT and old_logprobs_BT must have one shape, got "
            f"{tuple(logprobs_BT.shape)} and {tuple(old_logprobs_BT.shape)}"
        )
    return logprobs_BT - old_logprobs_BT.detach()


def importance_ratio(logprobs_BT: Tensor, old_logprobs_BT: Tensor) -> Tensor:
    """``r = exp(clamp(log pi - log pi_old, -20, 20))`` per token; beyond the clamp no gradient.

    Takes and raises what :func:`log_ratio` does; returns ``[B, T]`` in ``[exp(-20), exp(20)]``.
    """
    log_ratio_BT = log_ratio(logprobs_BT, old_logprobs_BT)
    return log_ratio_BT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def sequence_ratio(logprobs_BT: Tensor, old_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """``exp`` of the mean log-ratio over a sequence's tokens (arXiv 2507.18071, Eq. 7), ``[B, 1]``.

    1 for a sequence without tokens. Raises ValueError as :func:`log_ratio`, and when ``mask_BT`` has
    another shape.
    """
    log_ratio_BT = log_ratio(logprobs_BT, old_logprobs_BT)
    if mask_BT.shape != log_ratio_BT.shape:
        raise ValueError(
            f"mask_BT must have shape {tuple(log_ratio_BT.shape)}, got {tuple(mask_BT.shape)}"
        )
    inside_BT = mask_BT.bool()
    # Padding is replaced, not multiplied away: nan * 0 is nan.
    summed_B1 = log_ratio_BT.masked_fill(~inside_BT, 0.0).sum(1, keepdim=True)
    mean_B1 = summed_B1 / inside_BT.sum(1, keepdim=True).clamp(min=1)
    return mean_B1.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def advantage_column(advantages_B: Tensor, ratio_BT: Tensor) -> Tensor:
    """One advantage per sequence as a detached ``[B, 1]`` column of ``ratio_BT``'s dtype.

    Raises:
        ValueError: ``advantages_B`` is not ``[B]`` with the B of ``ratio_BT``. A ``[B, T]``
            tensor or a wrong B would broadcast to something without an error.
    """
    expected = (ratio_BT.shape[0],)
    if advantages_B.shape != expected:
        raise ValueError(
            f"advantages_B must have shape {expected}, got {tuple(advantages_B.shape)}"
        )
    return advantages_B.detach().to(ratio_BT.dtype).unsqueeze(1)
