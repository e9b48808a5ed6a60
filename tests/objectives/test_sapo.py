"""SAPO against numbers derived apart from the code: 30-digit arithmetic, finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cogaudio_rl.objectives.grpo import grpo_token_loss
from cogaudio_rl.objectives.sapo import sapo_gate, sapo_token_loss

# ratio, f and r * f' at tau 1 (positive advantage), f and r * f' at tau 1.05 (negative).
GOLDEN = [
    (0.5, 1.51016268, 0.47000742, 1.41593833, 0.46706991),
    (1.0, 2.00000000, 1.00000000, 1.90476190, 1.00000000),
    (1.25, 2.24870600, 1.23067041, 2.15333618, 1.22871170),
    (2.0, 2.92423431, 1.57289547, 2.82199962, 1.53621958),
    (10.0, 3.99950642, 0.00493517, 3.80922406, 0.00314709),
]
HALF_OF_LAST_DIGIT = 5.1e-9

log_ratios = st.lists(st.floats(-3, 3), min_size=1, max_size=6)
advantages = st.floats(-3, 3)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss_and_gradient(log_ratio_T: Tensor, advantage: float) -> tuple[Tensor, Tensor]:
    """The token losses of one sequence and their gradient with respect to its log-probabilities."""
    old_BT = torch.full_like(log_ratio_T, -0.75).unsqueeze(0)
    logprobs_BT = (old_BT + log_ratio_T).requires_grad_()
    loss_BT = sapo_token_loss(logprobs_BT, old_BT, log_ratio_T.new_tensor([advantage]))
    (gradient_BT,) = torch.autograd.grad(loss_BT.sum(), logprobs_BT)
    return loss_BT.detach()[0], gradient_BT[0]


@pytest.mark.parametrize(("ratio", "f_pos", "weight_pos", "f_neg", "weight_neg"), GOLDEN)
def test_golden_loss_gradient_and_gate(
    ratio: float, f_pos: float, weight_pos: float, f_neg: float, weight_neg: float
) -> None:
    for advantage, f, weight, tau in (
        (1.0, f_pos, weight_pos, 1.0),
        (-1.0, f_neg, weight_neg, 1.05),
    ):
        loss_T, gradient_T = loss_and_gradient(f64(math.log(ratio)), advantage)
        assert loss_T.item() == pytest.approx(-advantage * f, abs=HALF_OF_LAST_DIGIT)
        assert gradient_T.item() == pytest.approx(-advantage * weight, abs=HALF_OF_LAST_DIGIT)
        assert sapo_gate(f64(ratio), tau).item() == pytest.approx(weight, abs=HALF_OF_LAST_DIGIT)


def test_golden_batch_of_mixed_signs() -> None:
    logprobs_BT = f64(-0.5, 0.2, -0.1).unsqueeze(1).requires_grad_()
    loss_BT = sapo_token_loss(logprobs_BT, torch.zeros_like(logprobs_BT), f64(1, -1, 0.5))
    loss_BT.sum().backward()
    assert logprobs_BT.grad is not None
    assert loss_BT.flatten().tolist() == pytest.approx(
        [-1.61152963, 2.12517290, -0.95245458], abs=HALF_OF_LAST_DIGIT
    )
    assert logprobs_BT.grad.flatten().tolist() == pytest.approx(
        [-0.58364789, 1.20504800, -0.45139599], abs=HALF_OF_LAST_DIGIT
    )


def test_float32_keeps_six_digits_of_the_golden_losses() -> None:
    loss_T, gradient_T = loss_and_gradient(torch.tensor([math.log(0.5), math.log(2.0)]), -1.0)
    assert loss_T.dtype == gradient_T.dtype == torch.float32
    assert loss_T.tolist() == pytest.approx([1.41593833, 2.82199962], rel=1e-6)
    assert gradient_T.tolist() == pytest.approx([0.46706991, 1.53621958], rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(log_ratio_T=log_ratios, advantage=advantages)
def test_gradient_is_the_central_difference(log_ratio_T: list[float], advantage: float) -> None:
    step = 1e-6
    at = f64(*log_ratio_T)
    above_T, _ = loss_and_gradient(at + step, advantage)
    below_T, _ = loss_and_gradient(at - step, advantage)
    _, gradient_T = loss_and_gradient(at, advantage)
    torch.testing.assert_close(gradient_T, (above_T - below_T) / (2 * step), atol=1e-8, rtol=1e-6)


def test_gradcheck_over_a_batch() -> None:
    rng = torch.Generator().manual_seed(11)
    old_BT = -torch.rand(3, 4, dtype=torch.float64, generator=rng)
    logprobs_BT = -torch.rand(3, 4, dtype=torch.float64, generator=rng)
    assert torch.autograd.gradcheck(
        lambda logprobs: sapo_token_loss(
            logprobs, old_BT, f64(1.5, -0.5, 0), tau_pos=0.7, tau_neg=3
        ),
        logprobs_BT.requires_grad_(),
    )


@settings(max_examples=30, deadline=None)
@given(log_ratio_T=log_ratios, advantage=advantages.filter(lambda a: abs(a) > 1e-3))
def test_the_weight_on_advantage_is_the_gate(log_ratio_T: list[float], advantage: float) -> None:
    _, gradient_T = loss_and_gradient(f64(*log_ratio_T), advantage)
    weight_T = sapo_gate(f64(*log_ratio_T).exp(), 1.0 if advantage > 0 else 1.05)
    torch.testing.assert_close(gradient_T, -advantage * weight_T, rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-8, 0), st.floats(-8, 0)), min_size=1, max_size=5),
    data=st.data(),
)
def test_on_policy_gradient_is_grpos(rows: list[tuple[float, float]], data: st.DataObject) -> None:
    advantages_B = f64(*data.draw(st.lists(advantages, min_size=len(rows), max_size=len(rows))))
    gradients: list[Tensor] = []
    for token_loss in (sapo_token_loss, grpo_token_loss):
        logprobs_BT = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
        loss_BT = token_loss(logprobs_BT, logprobs_BT.detach(), advantages_B)
        gradients.extend(torch.autograd.grad(loss_BT.sum(), logprobs_BT))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(gradients[0], -advantages_B[:, None].expand(-1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_advantage_gives_no_loss_and_no_gradient(dtype: torch.dtype) -> None:
    loss_T, gradient_T = loss_and_gradient(torch.tensor([-100, -1, 0, 0.3, 100], dtype=dtype), 0.0)
    assert loss_T.tolist() == [0] * 5
    assert gradient_T.tolist() == [0] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("advantage", "at_zero", "at_infinity"),
    [(1.0, -1.07576569, -4.0), (-1.0, 0.98752420, 3.80952381)],
)
def test_log_ratio_of_a_hundred_is_finite(
    dtype: torch.dtype, advantage: float, at_zero: float, at_infinity: float
) -> None:
    loss_T, gradient_T = loss_and_gradient(torch.tensor([-100.0, 100.0], dtype=dtype), advantage)
    assert loss_T.tolist() == pytest.approx([at_zero, at_infinity], abs=5e-7)
    assert gradient_T.tolist() == [0, 0]


def test_gate_vanishes_at_both_ends() -> None:
    assert sapo_gate(torch.tensor([0.0, 1.0, math.inf]), 1.0).tolist() == [0, 1, 0]
    # Worth 3.05e-11 by 30-digit arithmetic, where 1 - sigmoid(29) is 0 in float32.
    assert sapo_gate(torch.tensor([30.0]), 1.0).item() == pytest.approx(3.05239878e-11, rel=1e-5)


def test_a_larger_temperature_closes_the_gate_sooner() -> None:
    ratio = f64(0.2, 0.5, 2, 5)
    assert bool((sapo_gate(ratio, 1.05) < sapo_gate(ratio, 1.0)).all())


def test_gradient_flows_into_the_policy_alone() -> None:
    advantages_B = f64(1, -2).requires_grad_()
    logprobs_BT = f64(-1, -2).unsqueeze(1).requires_grad_()
    old_BT = f64(-1.5, -1).unsqueeze(1).requires_grad_()
    sapo_token_loss(logprobs_BT, old_BT, advantages_B).sum().backward()
    assert logprobs_BT.grad is not None
    assert old_BT.grad is None
    assert advantages_B.grad is None


def test_the_same_tensor_twice_is_on_policy_with_a_gradient() -> None:
    logprobs_BT = f64(-1, -2).unsqueeze(1).requires_grad_()
    sapo_token_loss(logprobs_BT, logprobs_BT, f64(1, -2)).sum().backward()
    assert logprobs_BT.grad is not None
    assert logprobs_BT.grad.flatten().tolist() == pytest.approx([-1, 2], rel=1e-15)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(4)))
def test_sequences_do_not_see_each_other(order: list[int]) -> None:
    logprobs_BT = f64(-0.5, -1, -0.25, -2).reshape(4, 1) * f64(1, 0.5, 2)
    old_BT = logprobs_BT.flip(0)
    advantages_B = f64(1, -1, 0, 0.5)
    whole_BT = sapo_token_loss(logprobs_BT, old_BT, advantages_B)
    permuted_BT = sapo_token_loss(logprobs_BT[order], old_BT[order], advantages_B[order])
    assert torch.equal(permuted_BT, whole_BT[order])


def test_rejects_shapes_that_would_broadcast() -> None:
    two_by_three = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 1\)"):
        sapo_token_loss(two_by_three, torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(ValueError, match=r"advantages_B must have shape \(2,\), got \(3,\)"):
        sapo_token_loss(two_by_three, two_by_three, torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        sapo_token_loss(two_by_three, two_by_three, two_by_three)
    with pytest.raises(ValueError, match=r"logprobs_BT must be \[B, T\], got shape \(3,\)"):
        sapo_token_loss(torch.zeros(3), torch.zeros(3), torch.zeros(3))


def test_rejects_half_precision() -> None:
    half_BT = torch.zeros(2, 3, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"old_logprobs_BT must be float32 or float64.*bfloat16"):
        sapo_token_loss(half_BT.float(), half_BT, torch.zeros(2))


@pytest.mark.parametrize("tau", [0.0, -1.0, math.inf, math.nan])
def test_rejects_temperatures_that_are_not_positive(tau: float) -> None:
    zeros_BT = torch.zeros(1, 1)
    with pytest.raises(ValueError, match=f"tau_pos must be positive and finite, got {tau}"):
        sapo_token_loss(zeros_BT, zeros_BT, torch.zeros(1), tau_pos=tau)
    with pytest.raises(ValueError, match=f"tau_neg must be positive and finite, got {tau}"):
        sapo_token_loss(zeros_BT, zeros_BT, torch.zeros(1), tau_neg=tau)
    with pytest.raises(ValueError, match=f"tau must be positive and finite, got {tau}"):
        sapo_gate(zeros_BT, tau)
