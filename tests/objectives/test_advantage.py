"""Group-relative advantages against hand-made numbers and torch's own standard deviation."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cogaudio_rl.objectives.advantage import group_advantages, is_zero_spread

groups = st.lists(st.floats(-10, 10), min_size=2, max_size=8)


def spread_out(rewards: list[float]) -> tuple[float, ...]:
    assume(max(rewards) - min(rewards) > 1e-2)
    advantages = group_advantages(rewards)
    assert advantages is not None
    return advantages


def test_golden_four_rewards() -> None:
    # mean 0.45, squared deviations 0.33, sample variance 0.11, std 0.33166248.
    assert group_advantages([0.1, 0.4, 0.4, 0.9]) == pytest.approx(
        (-1.05528652, -0.15075522, -0.15075522, 1.35679696), abs=5.1e-9
    )


def test_golden_two_rewards() -> None:
    # For a pair the sample std is |a - b| / sqrt(2), so the advantages are +-1 / sqrt(2).
    assert group_advantages([0.0, 1.0], eps=0.0) == pytest.approx((-0.70710678, 0.70710678))


@pytest.mark.parametrize("make", [tuple, np.array, torch.tensor, iter])
def test_takes_any_one_dimensional_rewards(make: type) -> None:
    advantages = group_advantages(make([0.0, 0.5, 1.0]), eps=0.0)
    assert advantages == pytest.approx((-1, 0, 1))
    assert advantages is not None
    assert all(type(a) is float for a in advantages)


@settings(max_examples=40, deadline=None)
@given(rewards=groups)
def test_scale_is_torchs_standard_deviation(rewards: list[float]) -> None:
    advantages = spread_out(rewards)
    rewards_G = torch.tensor(rewards, dtype=torch.float64)
    expected_G = (rewards_G - rewards_G.mean()) / (rewards_G.std() + 1e-6)
    assert advantages == pytest.approx(expected_G.tolist(), rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(rewards=groups, shift=st.floats(-5, 5), data=st.data())
def test_mean_zero_shift_free_and_equivariant(
    rewards: list[float], shift: float, data: st.DataObject
) -> None:
    advantages = spread_out(rewards)
    assert fmean(advantages) == pytest.approx(0, abs=1e-9)
    assert spread_out([r + shift for r in rewards]) == pytest.approx(advantages, abs=1e-6)
    order = data.draw(st.permutations(range(len(rewards))))
    assert spread_out([rewards[i] for i in order]) == pytest.approx(
        [advantages[i] for i in order], abs=1e-9
    )


@pytest.mark.parametrize("rewards", [[0.3] * 8, [0.0, 0.0], [0.1 + 0.2, 0.3], [1.0, 1.0 + 1e-7]])
def test_no_spread_no_advantages(rewards: list[float]) -> None:
    assert is_zero_spread(rewards)
    assert group_advantages(rewards) is None


def test_tolerance_decides_what_counts_as_spread() -> None:
    rewards = [0.5, 0.5, 0.51]
    assert not is_zero_spread(rewards)
    assert is_zero_spread(rewards, tolerance=0.02)
    assert group_advantages(rewards, tolerance=0.02) is None
    assert not is_zero_spread([0.0, 1e-9], tolerance=0.0)


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([], r"a group needs >= 2 rewards, got 0: \[\]"),
        ([0.5], r"a group needs >= 2 rewards, got 1: \[0.5\]"),
        ([0.5, math.nan], r"rewards must be finite, got \[0.5, nan\]"),
        ([0.5, math.inf], r"rewards must be finite, got \[0.5, inf\]"),
    ],
)
def test_rejects_groups_without_a_comparison(rewards: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_advantages(rewards)
    with pytest.raises(ValueError, match=message):
        is_zero_spread(rewards)


def test_rejects_negative_numbers() -> None:
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        group_advantages([0.0, 1.0], eps=-1)
    with pytest.raises(ValueError, match="tolerance must be >= 0, got -1"):
        group_advantages([0.0, 1.0], tolerance=-1)
    with pytest.raises(ValueError, match="tolerance must be >= 0, got -1"):
        is_zero_spread([0.0, 1.0], tolerance=-1)
