"""Token distillation against the whole vocabulary's divergence, by hand and by finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from cogaudio_rl.objectives.distil import distil_token_loss


def test_two_tokens_by_hand() -> None:
    # p = (1/2, 1/4 | 1/4), q = (1/4, 1/4 | 1/2): 1/2 ln 2 + 0 - 1/4 ln 2
    student = torch.tensor([[0.25, 0.25]], dtype=torch.float64).log()
    teacher = torch.tensor([[0.5, 0.25]], dtype=torch.float64).log()
    assert float(distil_token_loss(student, teacher)) == pytest.approx(0.25 * math.log(2))


def test_it_is_the_whole_divergence_where_the_tokens_are_all() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 7, dtype=torch.float64).log_softmax(-1)
    whole = torch.nn.functional.kl_div(student, teacher, log_target=True, reduction="none").sum(-1)
    assert torch.allclose(distil_token_loss(student, teacher), whole, atol=1e-9)


def test_named_tokens_bound_it_from_below() -> None:
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 20, 50, dtype=torch.float64).log_softmax(-1)
    whole = distil_token_loss(student, teacher)
    likeliest = teacher.topk(8).indices
    part = distil_token_loss(student.gather(1, likeliest), teacher.gather(1, likeliest))
    assert bool((part <= whole + 1e-12).all())
    assert bool((part > 0).all())


def test_its_gradient_is_what_the_docstring_says() -> None:
    student = torch.tensor([[0.3, 0.2, 0.1]], dtype=torch.float64).log().requires_grad_()
    teacher = torch.tensor([[0.5, 0.1, 0.1]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(distil_token_loss(student, teacher.log()).sum(), student)
    q, rest = student.detach().exp(), 0.4
    assert torch.allclose(gradient, -teacher + 0.3 * q / rest)
    assert torch.autograd.gradcheck(
        lambda s: distil_token_loss(s, teacher.log()), (student,), atol=1e-6
    )


def test_nothing_is_left_to_learn_from_oneself() -> None:
    own = torch.randn(4, 9).log_softmax(-1)[:, :5]
    assert torch.allclose(distil_token_loss(own, own), torch.zeros(4), atol=1e-6)


def test_bad_inputs_are_refused() -> None:
    good = torch.tensor([[0.5, 0.25]]).log()
    with pytest.raises(ValueError, match=r"must both be \[T, K\]"):
        distil_token_loss(good, good[:, :1])
    with pytest.raises(ValueError, match=r"must hold at most 1, got 1\.5"):
        distil_token_loss(good, torch.tensor([[0.75, 0.75]]).log())
    with pytest.raises(ValueError, match="float32 or float64"):
        distil_token_loss(good.half(), good)
