"""GRPO against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cogaudio_rl.objectives.grpo import grpo_token_loss


def loss_and_gradient(
    ratios: list[float], advantage: float, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    logprobs_BT = torch.tensor([ratios], dtype=torch.float64).log().to(dtype).requires_grad_()
    advantages_B = torch.tensor([advantage], dtype=dtype)
    loss_BT = grpo_token_loss(logprobs_BT, torch.zeros_like(logprobs_BT), advantages_B)
    (gradient_BT,) = torch.autograd.grad(loss_BT.sum(), logprobs_BT)
    return loss_BT.detach()[0], gradient_BT[0]


# The loss is -min(r A, clip(r) A); its gradient -r A, or 0 where the clip binds.
@pytest.mark.parametrize(
    ("advantage", "losses", "gradients"),
    [
        (1.0, [-0.5, -0.9, -1.0, -1.1, -1.2], [-0.5, -0.9, -1.0, -1.1, 0.0]),
        (-1.0, [0.8, 0.9, 1.0, 1.1, 1.5], [0.0, 0.9, 1.0, 1.1, 1.5]),
        (2.0, [-1.0, -1.8, -2.0, -2.2, -2.4], [-1.0, -1.8, -2.0, -2.2, 0.0]),
        (0.0, [0.0] * 5, [0.0] * 5),
    ],
)
def test_golden_loss_and_gradient(
    advantage: float, losses: list[float], gradients: list[float]
) -> None:
    loss_T, gradient_T = loss_and_gradient([0.5, 0.9, 1.0, 1.1, 1.5], advantage)
    assert loss_T.tolist() == pytest.approx(losses, abs=1e-12)
    assert gradient_T.tolist() == pytest.approx(gradients, abs=1e-12)


def test_the_two_clips_are_apart() -> None:
    logprobs_BT = torch.tensor([[math.log(1.5)], [math.log(0.5)]], dtype=torch.float64)
    loss_BT = grpo_token_loss(
        logprobs_BT,
        torch.zeros_like(logprobs_BT),
        torch.tensor([1.0, -1.0], dtype=torch.float64),
        clip_low=0.3,
        clip_high=0.28,
    )
    assert loss_BT.flatten().tolist() == pytest.approx([-1.28, 0.7], abs=1e-12)


def test_gradcheck_away_from_the_kinks() -> None:
    old_BT = torch.tensor([[-1.0, -2.0, -0.5], [-0.2, -3.0, -1.0]], dtype=torch.float64)
    log_ratio_BT = torch.tensor([[-0.4, 0.1, 0.5], [-0.1, 0.3, -0.6]], dtype=torch.float64)
    advantages_B = torch.tensor([1.5, -0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda logprobs_BT: grpo_token_loss(logprobs_BT, old_BT, advantages_B),
        (old_BT + log_ratio_BT).requires_grad_(),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("advantage", [1.0, 0.0, -1.0])
def test_log_ratio_of_a_hundred_is_finite(dtype: torch.dtype, advantage: float) -> None:
    loss_T, gradient_T = loss_and_gradient([math.exp(-100), math.exp(100)], advantage, dtype)
    assert bool(loss_T.isfinite().all())
    assert gradient_T.tolist() == [0, 0]


def test_rejects_shapes_that_would_broadcast() -> None:
    zeros_BT = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(1, 3\)"):
        grpo_token_loss(zeros_BT, torch.zeros(1, 3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"advantages_B must have shape \(2,\), got \(1,\)"):
        grpo_token_loss(zeros_BT, zeros_BT, torch.zeros(1))


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({"clip_low": -0.1}, r"clip_low must be in \[0, 1\], got -0.1"),
        ({"clip_low": 1.5}, r"clip_low must be in \[0, 1\], got 1.5"),
        ({"clip_high": -0.1}, "clip_high must be >= 0, got -0.1"),
        ({"clip_high": math.nan}, "clip_high must be >= 0, got nan"),
    ],
)
def test_rejects_clips_out_of_range(clips: dict[str, float], message: str) -> None:
    zeros_BT = torch.zeros(1, 1)
    with pytest.raises(ValueError, match=message):
        grpo_token_loss(zeros_BT, zeros_BT, torch.zeros(1), **clips)
