"""KL of votes: against scipy, by hand, and its gradient against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from cogaudio_rl.objectives.distribution import vote_divergence


def test_by_hand() -> None:
    # p^ = (1/2, 1/4, 1/4): KL of (1, 0, 0) is log 2, of (1/2, 1/2, 0) is log 2 / 2, of p^ itself 0.
    logits_BK = torch.tensor([[1 / 2, 1 / 4, 1 / 4]] * 3, dtype=torch.float64).log() - 3.0
    votes_BK = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])
    found = vote_divergence(logits_BK, votes_BK)
    assert found.tolist() == pytest.approx([math.log(2), math.log(2) / 2, 0.0], abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_is_scipy_s_relative_entropy_and_its_gradient_is_the_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(10, rng.dirichlet(np.ones(6)), size=5) / 10
    logits = rng.normal(size=(5, 6)) * 3 - 20
    leaf = torch.tensor(logits, requires_grad=True)
    found_B = vote_divergence(leaf, torch.tensor(votes))
    predicted = softmax(logits, axis=1)
    np.testing.assert_allclose(found_B.detach().numpy(), entropy(votes, predicted, axis=1))
    found_B.sum().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.numpy(), predicted - votes, atol=1e-12)
    step = 1e-6
    for k in range(6):
        moved = logits.copy()
        moved[:, k] += step
        up = entropy(votes, softmax(moved, axis=1), axis=1)
        moved[:, k] -= 2 * step
        down = entropy(votes, softmax(moved, axis=1), axis=1)
        np.testing.assert_allclose((up - down) / (2 * step), leaf.grad[:, k], atol=1e-8)


def test_a_label_that_was_never_said_makes_no_nan() -> None:
    leaf = torch.tensor([[0.0, -1e4]], requires_grad=True)
    loss = vote_divergence(leaf, torch.tensor([[1.0, 0.0]])).sum()
    loss.backward()
    assert loss.item() == 0.0
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("logits", "votes", "message"),
    [
        (torch.zeros(2, 3), torch.full((2, 2), 0.5), "must both be"),
        (torch.zeros(3), torch.zeros(3), "must both be"),
        (torch.zeros(1, 2, dtype=torch.bfloat16), torch.tensor([[0.5, 0.5]]), "float32 or float64"),
        (torch.zeros(1, 2), torch.tensor([[0.5, 0.4]]), "sum to 1"),
        (torch.zeros(1, 2), torch.tensor([[1.5, -0.5]]), "sum to 1"),
    ],
)
def test_bad_input_is_named(logits: torch.Tensor, votes: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vote_divergence(logits, votes)
