"""From a loss per token to one number. Each mean makes another objective of the same loss."""

from __future__ import annotations

import torch
from torch import Tensor


def sequence_mean(
    loss_BT: Tensor, mask_BT: Tensor, *, global_sequences: int | None = None
) -> Tensor:
    """Mean over each sequence's tokens, then over sequences (arXiv 2511.20347 Eq. 5, 2402.03300).

        (1 / N) * sum_i [ sum_t m_it * loss_it / sum_t m_it ],   N = global_sequences or B

    A fully masked sequence adds 0 to the sum and, as in TRL, 1 to the default N; verl leaves it
    out of N. Pass the N of the whole batch to every part of a split: the parts then *add up* to the
    number of the whole batch, however it was cut.

    Args:
        loss_BT: ``[B, T]`` losses. Where the mask is 0 the loss is never read: inf and nan there
            reach neither the result nor the gradient.
        mask_BT: ``[B, T]`` bool, 0/1, or weights >= 0, which are normalised inside a sequence.
        global_sequences: sequences in the whole batch, all micro-batches and ranks together.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes differ or are not rank 2, or ``global_sequences`` < 1.
    """
    _check_shapes(loss_BT, mask_BT)
    if global_sequences is not None and global_sequences < 1:
        raise ValueError(f"global_sequences must be >= 1, got {global_sequences}")
    weights_BT = mask_BT.to(loss_BT.dtype)
    mean_B = _weighted(loss_BT, weights_BT).sum(1) / _or_one(weights_BT.sum(1))
    return mean_B.sum() / (global_sequences or max(loss_BT.shape[0], 1))


def token_mean(loss_BT: Tensor, mask_BT: Tensor, *, global_tokens: float | None = None) -> Tensor:
    """Mean over all tokens of the batch, so that long sequences weigh more (arXiv 2503.14476).

        sum_it w_it * loss_it / N,   N = global_tokens or sum_it w_it

    Pass the N of the whole batch to every part of a split: the parts then *add up* to the number
    of the whole batch. A batch without any token is 0.

    Args:
        loss_BT: ``[B, T]`` losses. Where the mask is 0 the loss is never read: inf and nan there
            reach neither the result nor the gradient.
        mask_BT: ``[B, T]`` bool, 0/1, or weights >= 0.
        global_tokens: tokens (the sum of the weights) in the whole batch, all micro-batches and
            ranks together.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes differ or are not rank 2, or ``global_tokens`` is not positive.
    """
    _check_shapes(loss_BT, mask_BT)
    if global_tokens is not None and not global_tokens > 0:
        raise ValueError(f"global_tokens must be > 0, got {global_tokens}")
    weights_BT = mask_BT.to(loss_BT.dtype)
    return _weighted(loss_BT, weights_BT).sum() / (global_tokens or _or_one(weights_BT.sum()))


def constant_length_mean(
    loss_BT: Tensor, mask_BT: Tensor, *, length: int, global_sequences: int | None = None
) -> Tensor:
    """Sum over tokens divided by a constant, then mean over sequences (arXiv 2503.20783).

        sum_it m_it * loss_it / (length * N),   N = global_sequences or B

    Dr. GRPO's: dividing by a sequence's own length rewards short right answers and long wrong
    ones. Splits add up as in :func:`sequence_mean`.

    Args:
        loss_BT: ``[B, T]`` losses. Where the mask is 0 the loss is never read.
        mask_BT: ``[B, T]`` bool, 0/1, or weights >= 0.
        length: the constant, usually the largest number of new tokens; >= 1.
        global_sequences: sequences in the whole batch, all micro-batches and ranks together.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes differ or are not rank 2, ``length`` or ``global_sequences`` < 1.
    """
    _check_shapes(loss_BT, mask_BT)
    if length < 1:
        raise ValueError(f"length must be >= 1, got {length}")
    if global_sequences is not None and global_sequences < 1:
        raise ValueError(f"global_sequences must be >= 1, got {global_sequences}")
    total = _weighted(loss_BT, mask_BT.to(loss_BT.dtype)).sum()
    return total / (length * (global_sequences or max(loss_BT.shape[0], 1)))


def _weighted(loss_BT: Tensor, weights_BT: Tensor) -> Tensor:
    # nan * 0 is nan, so padding has to be replaced, not multiplied away.
    return loss_BT.masked_fill(weights_BT == 0, 0.0) * weights_BT


def _or_one(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, torch.ones_like(total))


def _check_shapes(loss_BT: Tensor, mask_BT: Tensor) -> None:
    if loss_BT.ndim != 2 or loss_BT.shape != mask_BT.shape:
        raise ValueError(
            "loss_BT and mask_BT must both be [B, T], got "
            f"{tuple(loss_BT.shape)} and {tuple(mask_BT.shape)}"
        )
