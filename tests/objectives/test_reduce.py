"""However a batch is padded, ordered or cut, the loss and the gradient are the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cogaudio_rl.objectives import OBJECTIVES, get_objective
from cogaudio_rl.objectives.reduce import constant_length_mean, sequence_mean, token_mean
from cogaudio_rl.objectives.sapo import sapo_token_loss

Reduction = Callable[[Tensor, Tensor], Tensor]
REDUCTIONS = pytest.mark.parametrize("reduction", [sequence_mean, token_mean])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A batch of log-probabilities with masks, as Hypothesis draws it."""

    logprobs_BT: Tensor
    old_logprobs_BT: Tensor
    advantages_B: Tensor
    mask_BT: Tensor

    def rows(self, index: list[int]) -> Case:
        return Case(
            logprobs_BT=self.logprobs_BT[index],
            old_logprobs_BT=self.old_logprobs_BT[index],
            advantages_B=self.advantages_B[index],
            mask_BT=self.mask_BT[index],
        )

    def loss_and_gradient(self, reduction: Reduction) -> tuple[Tensor, Tensor]:
        logprobs_BT = self.logprobs_BT.clone().requires_grad_()
        token_loss_BT = sapo_token_loss(logprobs_BT, self.old_logprobs_BT, self.advantages_B)
        loss = reduction(token_loss_BT, self.mask_BT)
        (gradient_BT,) = torch.autograd.grad(loss, logprobs_BT)
        return loss.detach(), gradient_BT


@st.composite
def cases(draw: st.DrawFn) -> Case:
    num_sequences = draw(st.integers(1, 6))
    num_tokens = draw(st.integers(1, 4))

    def matrix(element: st.SearchStrategy[float], dtype: torch.dtype = torch.float64) -> Tensor:
        row = st.lists(element, min_size=num_tokens, max_size=num_tokens)
        rows = draw(st.lists(row, min_size=num_sequences, max_size=num_sequences))
        return torch.tensor(rows, dtype=dtype)

    return Case(
        logprobs_BT=matrix(st.floats(-5, 0)),
        old_logprobs_BT=matrix(st.floats(-5, 0)),
        advantages_B=matrix(st.floats(-2, 2))[:, 0],
        mask_BT=matrix(st.booleans(), torch.bool),
    )


def assert_same(got: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_golden_sapo_batch() -> None:
    """A = +1 with r = (1, 2) and A = -1 with r = (0.5, 1, 1.25): the means differ in sign.

    By the table in ``test_sapo.py``: (-4.92423431 / 2 + 5.47403642 / 3) / 2, and
    (-4.92423431 + 5.47403642) / 5.
    """
    logprobs_BT = torch.tensor([[1, 2, 1], [0.5, 1, 1.25]], dtype=torch.float64).log()
    mask_BT = torch.tensor([[1, 1, 0], [1, 1, 1]])
    advantages_B = torch.tensor([1.0, -1.0], dtype=torch.float64)
    loss_BT = sapo_token_loss(logprobs_BT, torch.zeros_like(logprobs_BT), advantages_B)
    assert sequence_mean(loss_BT, mask_BT).item() == pytest.approx(-0.3187191759, abs=5e-11)
    assert token_mean(loss_BT, mask_BT).item() == pytest.approx(0.1099604204, abs=5e-11)


def test_golden_by_hand() -> None:
    loss_BT = torch.tensor([[1.0, 2.0, 6.0], [4.0, 0.0, 0.0], [7.0, 7.0, 7.0]])
    mask_BT = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    assert sequence_mean(loss_BT, mask_BT).item() == pytest.approx((3 + 4 + 0) / 3)
    assert sequence_mean(loss_BT, mask_BT, global_sequences=2).item() == pytest.approx(3.5)
    assert token_mean(loss_BT, mask_BT).item() == pytest.approx(13 / 4)
    assert token_mean(loss_BT, mask_BT, global_tokens=26).item() == pytest.approx(0.5)


def test_weights_in_the_mask() -> None:
    loss_BT = torch.tensor([[1.0, 3.0], [5.0, 9.0]])
    weight_BT = torch.tensor([[0.5, 0.25], [0.25, 0.0]])
    # (0.5 + 0.75 + 1.25) / 1; and, inside each sequence, 1.25 / 0.75 and 5.
    assert token_mean(loss_BT, weight_BT).item() == pytest.approx(2.5)
    assert sequence_mean(loss_BT, weight_BT).item() == pytest.approx((5 / 3 + 5) / 2)
    assert token_mean(loss_BT, 8 * weight_BT).item() == pytest.approx(2.5)


@REDUCTIONS
def test_nothing_to_average_is_zero(reduction: Reduction) -> None:
    loss_BT = torch.ones(2, 3, requires_grad=True)
    loss = reduction(loss_BT, torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert loss_BT.grad is not None
    assert not loss_BT.grad.any()
    assert reduction(torch.ones(0, 3), torch.ones(0, 3)).item() == 0
    assert reduction(torch.ones(2, 0), torch.ones(2, 0)).item() == 0


@REDUCTIONS
@settings(max_examples=25, deadline=None)
@given(case=cases(), left=st.integers(0, 2), right=st.integers(0, 2), filler=st.floats(-1e3, 1e3))
def test_padding_changes_nothing(
    reduction: Reduction, case: Case, left: int, right: int, filler: float
) -> None:
    num_tokens = case.logprobs_BT.shape[1]
    pad = torch.nn.functional.pad
    padded = Case(
        logprobs_BT=pad(case.logprobs_BT, (left, right), value=filler),
        old_logprobs_BT=pad(case.old_logprobs_BT, (left, right), value=-filler),
        advantages_B=case.advantages_B,
        mask_BT=pad(case.mask_BT, (left, right), value=False),
    )
    loss, gradient_BT = padded.loss_and_gradient(reduction)
    inside_BT = gradient_BT[:, left : left + num_tokens]
    assert_same((loss, inside_BT), case.loss_and_gradient(reduction))
    assert gradient_BT.count_nonzero() == inside_BT.count_nonzero()


@REDUCTIONS
@pytest.mark.parametrize("garbage", [math.inf, -math.inf, math.nan])
def test_masked_losses_are_never_read(reduction: Reduction, garbage: float) -> None:
    loss_BT = torch.tensor([[1.0, garbage], [3.0, 5.0]], requires_grad=True)
    loss = reduction(loss_BT, torch.tensor([[1, 0], [1, 1]]))
    loss.backward()
    assert loss.item() == pytest.approx(2.5 if reduction is sequence_mean else 3.0)
    assert loss_BT.grad is not None
    assert bool(loss_BT.grad.isfinite().all())


@REDUCTIONS
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("garbage", [math.inf, -math.inf, math.nan])
def test_masked_logprobs_leave_the_gradient_finite(
    reduction: Reduction, name: str, garbage: float
) -> None:
    """Padding is often filled with -inf on both sides, whose difference is nan."""
    logprobs_BT = torch.tensor([[-1.0, garbage], [-2.0, -0.5]], requires_grad=True)
    old_BT = torch.tensor([[-1.5, garbage], [-2.0, -0.25]])
    mask_BT = torch.tensor([[1, 0], [1, 1]])
    advantages_B = torch.tensor([1.0, -1.0])
    loss_BT = get_objective(name).loss_per_token(logprobs_BT, old_BT, advantages_B, mask_BT)
    reduction(loss_BT, mask_BT).backward()
    assert logprobs_BT.grad is not None
    assert bool(logprobs_BT.grad.isfinite().all())
    assert logprobs_BT.grad[0, 1] == 0


@REDUCTIONS
@settings(max_examples=25, deadline=None)
@given(case=cases(), data=st.data())
def test_order_changes_nothing(reduction: Reduction, case: Case, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(case.advantages_B))))
    loss, gradient_BT = case.rows(order).loss_and_gradient(reduction)
    whole_loss, whole_gradient_BT = case.loss_and_gradient(reduction)
    assert_same((loss, gradient_BT), (whole_loss, whole_gradient_BT[order]))


@REDUCTIONS
@settings(max_examples=40, deadline=None)
@given(case=cases(), data=st.data())
def test_parts_add_up_to_the_whole(reduction: Reduction, case: Case, data: st.DataObject) -> None:
    """Every row goes to one of 2 ranks and, there, to one of 2 micro-batches; some stay empty."""
    num_sequences = len(case.advantages_B)
    part_of_row = data.draw(
        st.lists(st.integers(0, 3), min_size=num_sequences, max_size=num_sequences)
    )
    global_tokens = max(int(case.mask_BT.sum()), 1)

    def with_global_count(loss_BT: Tensor, mask_BT: Tensor) -> Tensor:
        if reduction is sequence_mean:
            return sequence_mean(loss_BT, mask_BT, global_sequences=num_sequences)
        return token_mean(loss_BT, mask_BT, global_tokens=global_tokens)

    total = torch.zeros((), dtype=torch.float64)
    gradient_BT = torch.zeros_like(case.logprobs_BT)
    for part in range(4):
        index = [row for row, its_part in enumerate(part_of_row) if its_part == part]
        part_loss, part_gradient_BT = case.rows(index).loss_and_gradient(with_global_count)
        total += part_loss
        gradient_BT[index] = part_gradient_BT
    assert_same((total, gradient_BT), case.loss_and_gradient(reduction))


@REDUCTIONS
def test_rejects_shapes_that_would_broadcast(reduction: Reduction) -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 1\)"):
        reduction(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"got \(3,\) and \(3,\)"):
        reduction(torch.zeros(3), torch.zeros(3))


def test_rejects_counts_that_are_not_positive() -> None:
    ones_BT = torch.ones(2, 3)
    with pytest.raises(ValueError, match="global_sequences must be >= 1, got 0"):
        sequence_mean(ones_BT, ones_BT, global_sequences=0)
    with pytest.raises(ValueError, match="global_tokens must be > 0, got 0"):
        token_mean(ones_BT, ones_BT, global_tokens=0)


def test_constant_length_mean_by_hand() -> None:
    loss_BT = torch.tensor([[1.0, math.nan], [3.0, 5.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[1, 0], [1, 1]])
    assert constant_length_mean(loss_BT, mask_BT, length=10).item() == pytest.approx(9 / 20)
    parts = [
        constant_length_mean(loss_BT[i : i + 1], mask_BT[i : i + 1], length=10, global_sequences=2)
        for i in range(2)
    ]
    assert torch.stack(parts).sum().item() == pytest.approx(9 / 20)
    with pytest.raises(ValueError, match="length must be >= 1, got 0"):
        constant_length_mean(loss_BT, mask_BT, length=0)
