"""The registry, and the supervised loss."""

from __future__ import annotations

import inspect

import pytest
import torch

from cogaudio_rl.config import ObjectiveConfig, load_config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.objectives import OBJECTIVES, Totals, get_objective, gradient_weight
from cogaudio_rl.objectives.sft import nll_token_loss

MASK_BT = torch.tensor([[1, 1, 1], [1, 1, 0]])


OF_GROUPS = sorted(name for name, objective in OBJECTIVES.items() if not objective.pairs)


@pytest.mark.parametrize("name", OF_GROUPS)
def test_every_objective_is_on_policy_at_first(name: str) -> None:
    """At r = 1 all have one gradient, the policy gradient's, before any mean."""
    logprobs_BT = -torch.rand(2, 3, generator=torch.Generator().manual_seed(3))
    weight_BT = gradient_weight(
        get_objective(name),
        *(logprobs_BT, logprobs_BT, torch.tensor([1.0, -1.0]), MASK_BT),
    )
    torch.testing.assert_close(weight_BT[MASK_BT.bool()], torch.ones(5))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_recipe_offers_what_the_loss_takes(name: str) -> None:
    """The recipe's defaults are the papers'; they must be the functions' own."""
    parameters = inspect.signature(get_objective(name).token_loss).parameters
    own = {k: p.default for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    recipe = ObjectiveConfig.model_validate({"name": name}).floats
    assert set(recipe) == set(own)
    if name != "dapo":  # the clip of GRPO with its upper bound raised
        assert recipe == own


def test_a_float_of_another_objective_is_refused() -> None:
    with pytest.raises(ConfigError, match="grpo has no tau_pos; it takes clip_low and clip_high"):
        load_config("quickstart", ["rl.objective={name: grpo, tau_pos: 2.0}"])
    given = load_config("quickstart", ["rl.objective={name: dapo, clip_low: 0.1}"]).rl.objective
    assert given.floats == {"clip_low": 0.1, "clip_high": 0.28}


def test_unknown_objective_names_the_value_and_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"objective must be one of cispo, dapo, .*, got 'ppo'"):
        get_objective("ppo")


def test_means() -> None:
    loss_BT = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]])
    totals = Totals(sequences=2, tokens=5, longest=10)
    found = {n: float(get_objective(n).reduce(loss_BT, MASK_BT, totals)) for n in OBJECTIVES}
    assert found == pytest.approx(
        {"sapo": 3.25, "grpo": 3.25, "gspo": 3.25, "dapo": 3.0, "cispo": 3.0, "dr_grpo": 0.75}
        | {"dpo": 15.0}  # two sequences are one pair: 1 + 2 + 3 + 4 + 5
    )


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
