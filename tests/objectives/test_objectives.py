"""The registry, and the supervised loss."""

from __future__ import annotations

import pytest
import torch

from cogaudio_rl.errors import ConfigError
from cogaudio_rl.objectives import OBJECTIVES, get_objective, grpo_token_loss, sapo_token_loss
from cogaudio_rl.objectives.sft import nll_token_loss


def test_objectives_by_name() -> None:
    assert get_objective("sapo") is sapo_token_loss
    assert get_objective("grpo") is grpo_token_loss


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_takes_the_same_three_tensors(name: str) -> None:
    logprobs_BT = -torch.rand(2, 3, generator=torch.Generator().manual_seed(3))
    loss_BT = get_objective(name)(logprobs_BT, logprobs_BT, torch.tensor([1.0, -1.0]))
    assert loss_BT.shape == (2, 3)


def test_unknown_objective_names_the_value_and_the_choices() -> None:
    with pytest.raises(ConfigError, match="objective must be one of grpo, sapo, got 'dapo'"):
        get_objective("dapo")


def test_nll_is_the_cross_entropy_of_torch() -> None:
    rng = torch.Generator().manual_seed(5)
    logits_BTV = torch.randn(2, 3, 7, generator=rng)
    target_BT = torch.randint(7, (2, 3), generator=rng)
    logprobs_BT = logits_BTV.log_softmax(-1).gather(-1, target_BT.unsqueeze(-1)).squeeze(-1)
    expected_BT = torch.nn.functional.cross_entropy(
        logits_BTV.transpose(1, 2), target_BT, reduction="none"
    )
    torch.testing.assert_close(nll_token_loss(logprobs_BT), expected_BT)


def test_nll_rejects_other_ranks() -> None:
    with pytest.raises(ValueError, match=r"logprobs_BT must be \[B, T\], got shape \(3,\)"):
        nll_token_loss(torch.zeros(3))
