"""How far predicted shares of votes are from those that were cast: KL, to train on."""

from __future__ import annotations

import torch
from torch import Tensor

_SUM_TOLERANCE = 1e-6


def vote_divergence(label_logprobs_BK: Tensor, votes_BK: Tensor) -> Tensor:
    """``KL(p || p^) = sum_k p_k (log p_k - log p^_k)`` in nats (arXiv 2603.08230).

        p^ = softmax over the K labels of log pi(label | x, chain)

    What a label has as a whole counts, so a name of several tokens enters with the sum of their
    log-probs. Its gradient in those is ``p^ - p``. A label that nobody chose adds nothing, but what
    p^ gives it is missing elsewhere.

    Args:
        label_logprobs_BK: ``[B, K]`` log pi of each label behind the chain; the only input with a
            gradient. They need not be normalised over the labels.
        votes_BK: ``[B, K]`` shares of the listeners' votes in the same order; rows sum to 1.

    Returns:
        ``[B]`` divergences >= 0.

    Raises:
        ValueError: shapes differ or are not rank 2, a dtype is not float32/float64, or a row of votes
            is no distribution. Nothing is normalised here.
    """
    if label_logprobs_BK.ndim != 2 or label_logprobs_BK.shape != votes_BK.shape:
        raise ValueError(
            "label_logprobs_BK and votes_BK must both be [B, K], got "
            f"{tuple(label_logprobs_BK.shape)} and {tuple(votes_BK.shape)}"
        )
    if label_logprobs_BK.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"label_logprobs_BK must be float32 or float64, got {label_logprobs_BK.dtype}"
        )
    votes_BK = votes_BK.detach().to(label_logprobs_BK.dtype)
    sums_B = votes_BK.double().sum(1)
    if bool((votes_BK < 0).any()) or bool(((sums_B - 1).abs() > _SUM_TOLERANCE).any()):
        raise ValueError(f"votes must be shares >= 0 that sum to 1, got {votes_BK.tolist()}")
    predicted_BK = label_logprobs_BK.log_softmax(-1)
    return (torch.xlogy(votes_BK, votes_BK) - votes_BK * predicted_BK).sum(1)
