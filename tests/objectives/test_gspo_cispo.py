"""GSPO and CISPO against values worked out by hand, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cogaudio_rl.objectives import cispo_token_loss, gspo_token_loss


def f64(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


LOG_RATIOS = [0.1, -0.2, 0.4]
"""Their mean is 0.1, so the sequence's ratio is exp(0.1) = 1.1051709180756477."""
S = 1.1051709180756477


@pytest.mark.parametrize(
    ("advantage", "clips", "loss", "gradient"),
    [
        # A > 0 and s above the clip: the clip binds, nothing moves.
        (1.0, {}, -1.0004, 0.0),
        # A < 0: min(-s, -1.0004) is -s, unclipped; each token has a third of s.
        (-1.0, {}, S, S / 3),
        # A wide clip leaves s alone.
        (2.0, {"clip_high": 0.2}, -2 * S, -2 * S / 3),
        (0.0, {}, 0.0, 0.0),
    ],
)
def test_gspo_by_hand(
    advantage: float, clips: dict[str, float], loss: float, gradient: float
) -> None:
    # A fourth token is padding; its log-ratio must not count.
    old_BT = f64([-1.0, -2.0, -0.5, 7.0])
    logprobs_BT = (old_BT + f64([*LOG_RATIOS, 5.0])).requires_grad_()
    mask_BT = torch.tensor([[1, 1, 1, 0]])
    loss_BT = gspo_token_loss(
        logprobs_BT, old_BT, torch.tensor([advantage], dtype=torch.float64), mask_BT, **clips
    )
    assert loss_BT[0, :3].tolist() == pytest.approx([loss] * 3, abs=1e-12)
    # The sequence's own loss is the mean of its tokens' equal losses.
    (gradient_BT,) = torch.autograd.grad(loss_BT[0, :3].mean(), logprobs_BT)
    assert gradient_BT[0].tolist() == pytest.approx([gradient] * 3 + [0.0], abs=1e-12)


def test_gspo_of_a_sequence_without_tokens_is_nothing() -> None:
    zeros_BT = torch.zeros(1, 2)
    loss_BT = gspo_token_loss(zeros_BT, zeros_BT, torch.ones(1), torch.zeros(1, 2))
    assert loss_BT.tolist() == [[0, 0]]


# w = min(r, 1 + clip); loss = -w A log pi; gradient -w A.
@pytest.mark.parametrize(("advantage", "clip"), [(1.0, 4.0), (-2.0, 4.0), (1.0, 0.5)])
def test_cispo_by_hand(advantage: float, clip: float) -> None:
    ratios, logs = [0.5, 1.0, 2.0, 10.0], [-0.1, -1.0, -2.0, -3.0]
    logprobs_BT = f64(logs).requires_grad_()
    old_BT = f64([lp - math.log(r) for lp, r in zip(logs, ratios, strict=True)])
    loss_BT = cispo_token_loss(
        logprobs_BT, old_BT, torch.tensor([advantage], dtype=torch.float64), clip_high=clip
    )
    weights = [min(r, 1 + clip) for r in ratios]
    assert loss_BT[0].tolist() == pytest.approx(
        [-w * advantage * lp for w, lp in zip(weights, logs, strict=True)], abs=1e-12
    )
    (gradient_BT,) = torch.autograd.grad(loss_BT.sum(), logprobs_BT)
    assert gradient_BT[0].tolist() == pytest.approx([-w * advantage for w in weights], abs=1e-12)


def test_gspo_gradcheck() -> None:
    old_BT = f64([-1.0, -2.0, -0.5], [-0.2, -3.0, -1.0])
    logprobs_BT = (old_BT + f64([0.2, 0.1, -0.3], [-0.1, 0.3, 0.1])).requires_grad_()
    advantages_B = torch.tensor([1.5, -0.5], dtype=torch.float64)
    mask_BT = torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert torch.autograd.gradcheck(
        lambda x: gspo_token_loss(x, old_BT, advantages_B, mask_BT, clip_low=0.2, clip_high=0.2),
        logprobs_BT,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_log_ratio_of_a_hundred_is_finite(dtype: torch.dtype, advantage: float) -> None:
    logprobs_BT = torch.tensor([[100.0, -100.0, 100.0]], dtype=dtype).requires_grad_()
    old_BT, mask_BT = torch.zeros_like(logprobs_BT), torch.ones(1, 3)
    advantages_B = torch.tensor([advantage], dtype=dtype)
    total = gspo_token_loss(logprobs_BT, old_BT, advantages_B, mask_BT).sum()
    total = total + cispo_token_loss(logprobs_BT, old_BT, advantages_B).sum()
    total.backward()
    assert logprobs_BT.grad is not None
    assert bool(logprobs_BT.grad.isfinite().all())


def test_out_of_range_is_named() -> None:
    zeros_BT, ones_B = torch.zeros(1, 2), torch.ones(1)
    with pytest.raises(ValueError, match="clip_high must be >= 0, got -1"):
        cispo_token_loss(zeros_BT, zeros_BT, ones_B, clip_high=-1)
    with pytest.raises(ValueError, match=r"clip_low must be in \[0, 1\], got 2"):
        gspo_token_loss(zeros_BT, zeros_BT, ones_B, zeros_BT, clip_low=2)
    with pytest.raises(ValueError, match=r"mask_BT must have shape \(1, 2\), got \(1, 3\)"):
        gspo_token_loss(zeros_BT, zeros_BT, ones_B, torch.zeros(1, 3))
