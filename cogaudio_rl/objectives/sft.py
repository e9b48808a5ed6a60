"""Supervised fine-tuning: the negative log-likelihood of the target tokens."""

from __future__ import annotations

from torch import Tensor

from cogaudio_rl.objectives.inputs import check_logprobs


def nll_token_loss(logprobs_BT: Tensor) -> Tensor:
    """``loss = -log pi(y_t | x, y_<t)`` per token, unmasked and unreduced.

    Stages I and II of CogAudio-LLM (arXiv 2606.06940) sum it over the target tokens; their usual
    mean is :func:`~cogaudio_rl.objectives.reduce.token_mean`.

    Args:
        logprobs_BT: ``[B, T]`` log-probabilities of the target tokens.

    Returns:
        ``[B, T]`` losses.

    Raises:
        ValueError: ``logprobs_BT`` is not rank 2 or not float32/float64.
    """
    check_logprobs("logprobs_BT", logprobs_BT)
    return -logprobs_BT
